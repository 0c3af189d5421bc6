/** The commands and Node in one file, so that a login node needs neither Node nor npm. */
import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { build } from 'esbuild'

import { packageRoot } from '../../../server/package-root.ts'
import { CommandError } from '../../exit.ts'

const run = promisify(execFile)

/** Node looks for this text in itself, and takes the program behind it when its last digit is 1. */
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

/** Writes the executable, for the system and the processor of the Node that runs. */
export async function writeExecutable(target: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'berth-executable-'))
  try {
    const program = join(directory, 'program.cjs')
    const blob = join(directory, 'program.blob')
    const settings = join(directory, 'settings.json')
    const executable = join(directory, 'berth-login-tools')
    await bundle(program)
    // The code cache saves what the start would spend on compiling.
    const wanted = { disableExperimentalSEAWarning: true, useCodeCache: true }
    await writeFile(settings, JSON.stringify({ main: program, output: blob, ...wanted }))
    await run(process.execPath, ['--experimental-sea-config', settings])
    await copyNode(executable)
    await strip(executable)
    await inject(executable, blob)
    await copyFile(executable, target)
    await chmod(target, 0o755)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function bundle(program: string): Promise<void> {
  const { warnings } = await build({
    entryPoints: [join(packageRoot, 'admin-cli/login-node/main.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'error',
    // ws asks for two packages that make it faster; in an executable even asking is a warning.
    define: {
      'process.env.WS_NO_BUFFER_UTIL': '"1"',
      'process.env.WS_NO_UTF_8_VALIDATE': '"1"',
    },
  })
  // import.meta has nothing in it there: what reads files of the clone cannot be in the executable.
  const [warning] = warnings
  if (warning !== undefined) {
    throw new CommandError(`${warning.location?.file ?? 'bundle'}: ${warning.text}`)
  }
}

/** Distributions that keep Node in a shared library have a small program without the mark. */
async function copyNode(executable: string): Promise<void> {
  const node = await realpath(process.execPath)
  if (!(await readFile(node)).includes(`${fuse}:0`)) {
    throw new CommandError(
      `${node} cannot carry a program: build with the Node of nodejs.org, which is one file.`,
    )
  }
  await copyFile(node, executable)
  await chmod(executable, 0o755)
}

/** An eighth smaller where binutils are installed; nothing depends on it. */
async function strip(executable: string): Promise<void> {
  await run('strip', [executable]).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}

/** As a program of its own, because it is loud about sections that do not matter. */
async function inject(executable: string, blob: string): Promise<void> {
  const postject = fileURLToPath(import.meta.resolve('postject/dist/cli.js'))
  const args = [executable, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', fuse]
  await run(process.execPath, [postject, ...args])
}
