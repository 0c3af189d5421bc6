/** How the commands end: 0 done, 1 it did not work, 2 it was called wrongly, 141 nobody reads. */
import { ConfigError } from '../server/config.ts'
import { Failure } from '../server/failure.ts'

/** A mistake in the call; the text says what is expected. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Something that a person can do something about; the text says what. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/** Runs a command; what goes wrong becomes one line on standard error and the exit status. */
export async function runCommand(name: string, command: () => Promise<void>): Promise<void> {
  watchOutput(name)
  try {
    await command()
  } catch (error) {
    const { status, text } = explain(name, error)
    process.exitCode = status
    process.stderr.write(`${name}: ${text}\n`)
  }
}

/** As SIGPIPE would end a program: whoever reads, such as `head`, has seen enough. */
const readerHasGone = 141

function watchOutput(name: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') {
      process.exitCode = readerHasGone
      return
    }
    process.exitCode = 1
    process.stderr.write(`${name}: the result could not be written: ${error.message}\n`)
  })
  // Nobody is left who could be told.
  process.stderr.on('error', () => {})
}

function explain(name: string, error: unknown): { status: 1 | 2; text: string } {
  if (error instanceof UsageError || error instanceof ConfigError) {
    return { status: 2, text: error.message }
  }
  if (error instanceof CommandError || error instanceof Failure) {
    return { status: 1, text: error.message }
  }
  if (!(error instanceof Error)) return { status: 1, text: String(error) }
  // node:util parseArgs: unknown options and the like. What follows the first sentence is about
  // words that begin with a dash, which no name here does.
  if ((error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS_') === true) {
    const what = error.message.split(/\.(?: |$)|\n/, 1)[0]
    return { status: 2, text: `${what}: see ${name} --help.` }
  }
  // What the operating system refuses names the file and the reason.
  if ('syscall' in error) return { status: 1, text: error.message }
  // Everything else is a bug, and whoever mends it needs the place.
  return { status: 1, text: error.stack ?? error.message }
}
