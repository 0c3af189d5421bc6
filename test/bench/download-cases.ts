import type { Bench, Case, Goal } from './case.ts'
import type { Target } from './contender.ts'
import { curlGet, curlGetRanges } from './curl.ts'
import type { ByteRange } from './curl.ts'
import { measure } from './measure.ts'
import { formatSize, MIB } from './units.ts'

/** What the stock clients do with a redirected download. */
const rangeBytes = 5 * MIB
const rangeStreams = 3

/** What every case fetches in all: enough that the start of curl does not count. */
const copies = 4

export function downloadCases(bench: Bench): Case[] {
  const size = formatSize(bench.sizeBytes)
  return [
    downloadCase(bench, {
      name: 'download-1',
      title: `download ${size} ${copies} times, one stream`,
      nginxRatio: 0.75,
      fetch: async (target) => await curlGet(target, bench.sizeBytes, copies),
    }),
    downloadCase(bench, {
      name: 'download-4',
      title: `download ${size} by ${copies} streams at once`,
      nginxRatio: 0.85,
      fetch: async (target) => {
        const streams = Array.from({ length: copies }, async () => {
          await curlGet(target, bench.sizeBytes)
        })
        await Promise.all(streams)
      },
    }),
    downloadCase(bench, {
      name: 'download-ranges',
      title: `download ${size} ${copies} times in ranges of 5 MiB, ${rangeStreams} at once`,
      nginxRatio: 0.7,
      fetch: async (target) => {
        const shares = sharesOf(bench.sizeBytes)
        await Promise.all(shares.map(async (ranges) => await curlGetRanges(target, ranges)))
      },
    }),
  ]
}

interface DownloadCase {
  readonly name: string
  readonly title: string
  readonly nginxRatio: number
  readonly fetch: (target: Target) => Promise<void>
}

function downloadCase(bench: Bench, options: DownloadCase): Case {
  const { name, title, nginxRatio, fetch } = options
  const goals: Goal[] = [
    { kind: 'ratio', peer: 'nginx', atLeast: nginxRatio },
    { kind: 'ratio', peer: 'registry', atLeast: 1.3 },
    { kind: 'cpu', atMostSeconds: 0.4 },
  ]
  return {
    name,
    title,
    unit: 'MiB/s',
    goals,
    isFor: () => true,
    sample: async (contender) => {
      const payload = await bench.stored(contender)
      const target = await contender.downloadTarget(payload)
      return await measure(contender, async () => {
        await fetch(target)
        return { bytes: copies * bench.sizeBytes }
      })
    },
  }
}

/** Neighbouring ranges go to different streams, as when each takes the next one. */
function sharesOf(sizeBytes: number): ByteRange[][] {
  const shares: ByteRange[][] = Array.from({ length: rangeStreams }, () => [])
  let turn = 0
  for (let copy = 0; copy < copies; copy += 1) {
    for (let first = 0; first < sizeBytes; first += rangeBytes) {
      const last = Math.min(first + rangeBytes, sizeBytes) - 1
      shares[turn % rangeStreams]?.push({ first, last })
      turn += 1
    }
  }
  return shares.filter((ranges) => ranges.length > 0)
}
