/** `build --remote`, which Apptainer has not any more: Berth's own client of the remote builder. */
import { existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

import type { ClientName } from '../client-programs.ts'
import { UsageError } from '../exit.ts'
import { activeRemote, remoteAt } from '../remotes.ts'
import { Builder } from './builder.ts'
import { buildTable, buildText } from './listing.ts'
import { Progress } from './progress.ts'
import { attend, runBuild } from './run.ts'

const help = `build --remote: makes an image on the site's builder

  build --remote [OPTIONS] IMAGE.sif FILE.def        builds, and downloads the image
  build --remote [OPTIONS] library://REF FILE.def    builds into the library
  build --remote status ID                           where a build stands
  build --remote output ID                           its output, to its end
  build --remote cancel ID
  build --remote list                                your builds

FILE.def may be an image to begin from: docker://alpine:3.20. Files of %files are sent along.

  -d, --detached        does not wait: prints how to get the image
      --arch ARCH       for another processor: amd64, arm64, ... (default: this one's)
      --library REF     keeps the image in the library as well, at library://REF
  -F, --force           replaces IMAGE.sif
      --build-arg NAME=VALUE, --build-arg-file FILE
      --json            for status and list
      --url URL         another endpoint than the active one ("remote list")

Ctrl-C asks whether to cancel the build. The exit status is 0 when there is an image, 1 when there is
none, and 130 when you cancelled.
`

const verbs = ['status', 'output', 'cancel', 'list']

const goArchs: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

/** `called` is the word that people typed before `build`. */
export async function remoteBuild(
  client: ClientName,
  called: string,
  args: readonly string[],
): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      remote: { type: 'boolean', short: 'r' },
      detached: { type: 'boolean', short: 'd' },
      arch: { type: 'string' },
      library: { type: 'string' },
      force: { type: 'boolean', short: 'F' },
      // What needs no privilege here needs none there either; people have it in their fingers.
      fakeroot: { type: 'boolean', short: 'f' },
      'build-arg': { type: 'string', multiple: true },
      'build-arg-file': { type: 'string' },
      json: { type: 'boolean' },
      url: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const [first = '', second = ''] = positionals
  if (values.help === true || first === '' || first === 'help') {
    process.stdout.write(help)
    return
  }
  const connect = async (): Promise<Builder> =>
    await Builder.discover(
      values.url === undefined ? activeRemote(client) : remoteAt(client, values.url),
    )
  const commands = {
    pullCommand: `${called === 'berth-singularity' ? client : called} pull`,
    buildCommand: `${called} build --remote`,
  }
  const progress = new Progress()
  if (isVerb(positionals)) {
    const builder = await connect()
    if (first === 'list') {
      const builds = await builder.list()
      process.stdout.write(values.json === true ? json(builds) : buildTable(builds))
      return
    }
    if (first === 'cancel') {
      await builder.cancel(second)
      return
    }
    const build = await builder.find(second)
    if (first === 'status') {
      process.stdout.write(values.json === true ? json(build) : buildText(build))
      return
    }
    await attend({ target: undefined, ...commands }, builder, build, undefined, progress)
    return
  }
  if (values.remote !== true) {
    throw new UsageError('Say "build --remote": builds on this host are the real program\'s.')
  }
  if (positionals.length !== 2) {
    throw new UsageError(
      'Give the image and the definition file: build --remote IMAGE.sif FILE.def',
    )
  }
  const isReference = first.startsWith('library:')
  const isAddress = /^https?:\/\//.test(values.library ?? '')
  if (isReference && values.library !== undefined && !isAddress) {
    throw new UsageError('Give one reference: library://REF as the image, or --library REF.')
  }
  await runBuild(
    {
      spec: second,
      target: isReference ? undefined : first,
      libraryRef: isReference ? first : isAddress ? '' : referenceIn(values.library),
      libraryUrl: isAddress ? values.library : undefined,
      arch: values.arch ?? goArchs[process.arch] ?? process.arch,
      buildArgs: buildArguments(values['build-arg'] ?? [], values['build-arg-file']),
      force: values.force === true,
      detached: values.detached === true,
      ...commands,
    },
    connect,
    progress,
  )
}

/** A file that is called `list` or `status` may be an image as well: then a definition follows it. */
function isVerb([verb = '', id, ...rest]: readonly string[]): boolean {
  if (!verbs.includes(verb) || rest.length > 0) return false
  if (verb === 'list') return id === undefined
  if (id !== undefined && existsSync(id)) return false
  if (id !== undefined && /^[0-9a-f]{24}$/.test(id)) return true
  throw new UsageError(
    `Give the ID of a build: build --remote ${verb} ID. "build --remote list" shows yours.`,
  )
}

function referenceIn(text: string | undefined): string {
  if (text === undefined || text.startsWith('library:')) return text ?? ''
  return `library://${text}`
}

function buildArguments(
  given: readonly string[],
  file: string | undefined,
): Readonly<Record<string, string>> {
  const lines = file === undefined ? [] : readFileSync(file, 'utf8').split('\n')
  const pairs = [...lines.filter((line) => line.trim() !== ''), ...given].map((text) => {
    const at = text.indexOf('=')
    const name = text.slice(0, Math.max(at, 0)).trim()
    if (name === '') throw new UsageError(`"${text}" is no build argument: write NAME=VALUE.`)
    return [name, text.slice(at + 1).trim()] as const
  })
  return Object.fromEntries(pairs)
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}
