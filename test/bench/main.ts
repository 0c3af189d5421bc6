/**
 * `npm run bench`: Berth and the peers that this machine can run, at the same work in the same run.
 * What is compared is the ratio: on a shared machine absolute figures mean nothing.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { startBerth } from './berth.ts'
import { builderCases, builderText, runBuilderCase } from './builder-cases.ts'
import type { Bench, Case } from './case.ts'
import { endChildren, runChild } from './children.ts'
import { MissingContender } from './contender.ts'
import type { Contender, ContenderName } from './contender.ts'
import { startDockerRegistry } from './docker-registry.ts'
import { downloadCases } from './download-cases.ts'
import { keyCases } from './key-cases.ts'
import { memoryCaseBytes, memoryCases } from './memory-cases.ts'
import { metadataCases } from './metadata-cases.ts'
import { startNginx } from './nginx.ts'
import { layerCount, ociCases } from './oci-cases.ts'
import { readOptions, usage, UsageError } from './options.ts'
import type { Options } from './options.ts'
import { PayloadSource } from './payload.ts'
import type { Payload } from './payload.ts'
import { headText, newReport, summaryText } from './report.ts'
import { runCase } from './rounds.ts'
import { summarise } from './summary.ts'
import { GIB } from './units.ts'
import { uploadCases, uploadCounts } from './upload-cases.ts'
import { warmMemory } from './warm-memory.ts'
import { makeWorkplace } from './workplace.ts'
import type { Workplace } from './workplace.ts'

const starters: Readonly<Record<ContenderName, (directory: string) => Promise<Contender>>> = {
  berth: startBerth,
  nginx: startNginx,
  registry: startDockerRegistry,
}

let interrupted = false

try {
  const options = readOptions(process.argv.slice(2))
  if (options.help) console.log(usage)
  else await run(options)
} catch (error) {
  if (interrupted) console.error('interrupted')
  else if (error instanceof UsageError) console.error(`${error.message}\n\n${usage}`)
  else console.error(error)
  process.exitCode = interrupted ? 130 : error instanceof UsageError ? 2 : 1
}

async function run(options: Options): Promise<void> {
  const { sizeBytes } = options
  const workplace = await makeWorkplace(options.workDirectory, {
    // Each contender holds one image and receives one at a time; then come the memory cases.
    diskBytes: 10 * sizeBytes + memoryCaseBytes(sizeBytes) + GIB,
    payloadBytes: (2 + uploadCounts.length) * sizeBytes,
    warmBytes: warmBytes(sizeBytes),
  })
  const contenders: Contender[] = []
  // Everything that waits for a child fails when it ends, and the clean-up below follows.
  const interrupt = (): void => {
    interrupted = true
    endChildren()
  }
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    await measureAll(options, workplace, contenders)
  } finally {
    for (const contender of contenders) await contender.stop()
    await workplace.remove()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

async function measureAll(
  options: Options,
  workplace: Workplace,
  contenders: Contender[],
): Promise<void> {
  const bench = await makeBench(options, workplace)
  const picked = pickCases(bench, options)
  // Builds are done by a server of their own.
  const servers = picked.cases.length === 0 ? [] : options.servers
  const missing = await startAll(servers, workplace, contenders)
  const report = newReport(options, contenders, missing)
  if (!workplace.payloadsInMemory) {
    console.log('*** no room in memory: the clients read from the disk that is measured ***')
  }
  console.log(headText(report))
  for (const work of picked.cases) {
    const result = await runCase(work, contenders, options.rounds)
    if (result.samples.size === 0) continue
    const summary = summarise(result)
    report.cases.push(summary)
    console.log(summaryText(summary))
  }
  for (const work of picked.builder) {
    try {
      const summary = await runBuilderCase(work, workplace.disk, options.rounds)
      report.builder.push(summary)
      console.log(builderText(summary))
    } catch (error) {
      if (!(error instanceof MissingContender)) throw error
      missing.push(`${work.name}: ${error.message}`)
    }
  }
  for (const line of missing) console.log(`*** MISSING: ${line} ***`)
  if (options.jsonFile !== undefined) {
    await writeFile(options.jsonFile, `${JSON.stringify(report, undefined, 2)}\n`)
  }
}

/** Adds those that run to `contenders`, as they come up; returns what is to be said of the others. */
async function startAll(
  names: readonly ContenderName[],
  workplace: Workplace,
  contenders: Contender[],
): Promise<string[]> {
  const missing: string[] = []
  for (const name of names) {
    const directory = join(workplace.disk, name)
    await mkdir(directory)
    try {
      contenders.push(await starters[name](directory))
    } catch (error) {
      if (!(error instanceof MissingContender)) throw error
      missing.push(`${name}: ${error.message}`)
    }
  }
  return missing
}

async function makeBench(options: Options, workplace: Workplace): Promise<Bench> {
  const { sizeBytes } = options
  const sizes = [...uploadCounts, layerCount].map((count) => sizeBytes / count)
  const payloads = await PayloadSource.create(workplace.payloads, sizes)
  if (workplace.payloadsInMemory) await warmMemory(workplace.payloads, warmBytes(sizeBytes))
  const stored = new Map<Contender, Payload>()
  const settle = async (): Promise<void> => {
    const sync = await runChild('sync', ['-f', workplace.disk], { timeoutMs: 120_000 })
    if (sync.code !== 0) throw new Error(`sync: ${sync.stderr}`)
  }
  return {
    sizeBytes,
    payloads,
    settle,
    stored: async (contender) => {
      const known = stored.get(contender)
      if (known) return known
      const payload = payloads.unwritten(sizeBytes)
      const upload = await contender.prepareUpload(payload, 'whole')
      await upload.send()
      await settle()
      stored.set(contender, payload)
      return payload
    },
  }
}

/** For the pages of the file system: an image that each contender keeps, and those just sent. */
function warmBytes(sizeBytes: number): number {
  return 6 * sizeBytes
}

interface Picked {
  readonly cases: readonly Case[]
  readonly builder: typeof builderCases
}

function pickCases(bench: Bench, { only }: Options): Picked {
  const all = [
    ...uploadCases(bench),
    ...downloadCases(bench),
    ...metadataCases(bench),
    ...ociCases(bench),
    ...keyCases(),
    ...memoryCases(bench),
  ]
  const isWanted = ({ name }: { readonly name: string }): boolean =>
    only.length === 0 || only.some((start) => name.startsWith(start))
  const picked = { cases: all.filter(isWanted), builder: builderCases.filter(isWanted) }
  if (picked.cases.length + picked.builder.length > 0) return picked
  const names = [...all, ...builderCases].map(({ name }) => name).join(', ')
  throw new UsageError(`--only ${only.join(',')}: the cases are ${names}`)
}
