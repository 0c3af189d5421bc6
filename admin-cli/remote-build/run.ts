/** One remote build from the definition to the image, for `build --remote`. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import type { Definition } from '../../server/builds/definition/definition.ts'
import { parseDefinition } from '../../server/builds/definition/parse.ts'
import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import type { Build, Builder } from './builder.ts'
import { packContext } from './context.ts'
import { checkTarget, downloadImage } from './download.ts'
import { followBuild, OutputGate } from './follow.ts'
import { watchInterrupts } from './interrupt.ts'
import type { Progress } from './progress.ts'

export interface BuildOrder {
  /** A definition file, or an image that a build begins from: `docker://alpine`. */
  readonly spec: string
  /** Where the image is written; undefined when it only goes into the library. */
  readonly target: string | undefined
  /** Where it goes in the library; empty: the server finds a place. */
  readonly libraryRef: string
  readonly libraryUrl: string | undefined
  readonly arch: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly force: boolean
  readonly detached: boolean
  /** What people type before `pull` and `build`, for the hints. */
  readonly pullCommand: string
  readonly buildCommand: string
}

/** As of a program that SIGINT ended. */
const interruptedStatus = 130

export async function runBuild(
  order: BuildOrder,
  connect: () => Promise<Builder>,
  progress: Progress,
): Promise<void> {
  const definition = readDefinition(order)
  if (order.target !== undefined && !order.detached) checkTarget(order.target, order.force)
  const builder = await connect()
  const context = await packContext(definition.parsed, process.cwd())
  try {
    if (context !== undefined) await builder.sendContext(context, progress)
  } finally {
    await context?.file.close()
  }
  const build = await builder.submit({
    definition: definition.text,
    libraryRef: order.libraryRef,
    libraryUrl: order.libraryUrl,
    arch: order.arch,
    workingDir: process.cwd(),
    contextDigest: context?.digest,
    buildArgs: order.buildArgs,
  })
  if (order.detached) {
    process.stdout.write(detachedText(order, build))
    return
  }
  progress.info(`Build ${build.id} is submitted.`)
  await attend(order, builder, build, context?.digest, progress)
}

/** Follows a build to its end; with a target the image is downloaded. */
export async function attend(
  order: Pick<BuildOrder, 'target' | 'pullCommand' | 'buildCommand'>,
  builder: Builder,
  { id }: Build,
  contextDigest: string | undefined,
  progress: Progress,
): Promise<void> {
  const gate = new OutputGate()
  const cancel = (): void => {
    builder.cancel(id).catch((error: unknown) => {
      progress.warn(`The build could not be cancelled: ${(error as Error).message}`)
    })
  }
  const interrupts = watchInterrupts(cancel, progress, gate)
  let build
  try {
    build = await followBuild(builder, id, progress, gate)
  } catch (error) {
    progress.info(`Follow the build again with: ${order.buildCommand} output ${id}`)
    throw error
  } finally {
    interrupts.stop()
  }
  if (build.imageSize <= 0) {
    if (interrupts.cancelled) process.exitCode = interruptedStatus
    const why = printable(build.reason ?? '') || 'the output says why'
    const what = build.state === 'cancelled' ? 'was cancelled' : 'failed'
    if (!interrupts.cancelled) throw new CommandError(`The build ${what}: ${why}.`)
    progress.info(`The build ${what}.`)
    return
  }
  if (contextDigest !== undefined) {
    await builder.dropContext(contextDigest).catch(() => {
      progress.warn('The files of the build could not be deleted; the server drops them in a day.')
    })
  }
  await keep(order, builder, build, progress)
}

async function keep(
  { target, pullCommand }: Pick<BuildOrder, 'target' | 'pullCommand'>,
  builder: Builder,
  build: Build,
  progress: Progress,
): Promise<void> {
  const ref = libraryUri(build)
  if (target === undefined) {
    progress.info(`Build complete: ${ref}`)
    return
  }
  const stop = new AbortController()
  const abort = (): void => stop.abort()
  process.once('SIGINT', abort)
  process.once('SIGTERM', abort)
  try {
    await downloadImage(builder, build, target, progress, stop.signal)
    progress.info(`Build complete: ${target}`)
  } catch (error) {
    progress.info(`The image is in the library: ${pullCommand} ${ref}`)
    throw error
  } finally {
    process.off('SIGINT', abort)
    process.off('SIGTERM', abort)
  }
}

function readDefinition({ spec, buildArgs }: BuildOrder): {
  readonly text: Buffer
  readonly parsed: Definition
} {
  const [, agent, from] = /^(library|docker|oras):\/\/(.+)$/.exec(spec) ?? []
  const text =
    agent === undefined
      ? readFileSync(resolve(spec))
      : Buffer.from(`Bootstrap: ${agent}\nFrom: ${from}\n`)
  const parsed = parseDefinition(text, buildArgs)
  const [fault] = parsed.faults
  if (fault === undefined) return { text, parsed }
  const place = fault.line === 0 ? printable(spec) : `${printable(spec)}, line ${fault.line}`
  throw new CommandError(`${place}: ${fault.message}`)
}

/** As the stock client says it; the active endpoint is asked, with the token that it has. */
function detachedText(order: BuildOrder, build: Build): string {
  const target = order.target === undefined ? '' : `${order.target} `
  return `Build submitted! Once it is complete, the image can be retrieved by running:
\t${order.pullCommand} ${target}${libraryUri(build)}

Follow it with:
\t${order.buildCommand} output ${build.id}
`
}

function libraryUri({ libraryRef }: Build): string {
  return printable(`library://${libraryRef.replace(/^library:(?:\/\/)?/, '')}`)
}
