/**
 * The remote builder: what it costs to build through Berth instead of calling Apptainer, and how it
 * shares. The two ways of building take turns in each round.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { measureShares } from './builder-shares.ts'
import { startBuilderSite } from './builder-site.ts'
import type { BuilderSite } from './builder-site.ts'
import { median } from './statistics.ts'
import type { GoalResult } from './summary.ts'

export interface BuilderSummary {
  readonly name: string
  readonly title: string
  readonly figures: readonly Figure[]
  readonly goals: readonly GoalResult[]
}

interface Figure {
  readonly what: string
  readonly unit: 's' | '%'
  readonly median: number
  readonly lowest: number
  readonly highest: number
  readonly samples: readonly number[]
}

interface BuilderCase {
  /** What --only picks by its beginning. */
  readonly name: string
  readonly run: (directory: string, rounds: number) => Promise<BuilderSummary>
}

/** Of nothing but what the host of the builder has. */
const base = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin" "$APPTAINER_ROOTFS/etc"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh dd cat bzip2 md5sum; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
  '%post',
]
const small = [...base, '  echo made > /made', ''].join('\n')
/** Some work, and an image of a size that is common. */
const usual = [
  ...base,
  '  dd if=/dev/urandom of=/data bs=1M count=64',
  '  bzip2 -c /data | md5sum',
  '',
].join('\n')

export const builderCases: readonly BuilderCase[] = [
  {
    name: 'build-small',
    run: async (directory, rounds) =>
      await withSite(directory, async (site) => {
        const taken = await takeTurns(site, small, rounds)
        const overhead = figure('overhead', 's', taken.overheads)
        return {
          name: 'build-small',
          title: 'a build of one small file through Berth beside "apptainer build"',
          figures: [
            ...taken.figures,
            overhead,
            figure('submit to first output', 's', taken.firstOutputs),
          ],
          goals: [goal('overhead below 1 s', overhead.median, overhead.median < 1)],
        }
      }),
  },
  {
    name: 'build-usual',
    run: async (directory, rounds) =>
      await withSite(directory, async (site) => {
        const taken = await takeTurns(site, usual, Math.min(rounds, 5))
        const overhead = figure('overhead', 's', taken.overheads)
        const share = figure('overhead of that', '%', taken.percents)
        return {
          name: 'build-usual',
          title: 'a build with some work and an image of 64 MiB, stored in the library',
          figures: [...taken.figures, overhead, share],
          goals: [
            goal('overhead below 1 s', overhead.median, overhead.median < 1),
            goal('overhead at most 5 %', share.median, share.median <= 5),
          ],
        }
      }),
  },
  {
    name: 'build-shares',
    run: async (directory) => {
      const { builds, people, seconds, offPercent } = await measureShares(directory)
      const most = Math.max(...offPercent)
      return {
        name: 'build-shares',
        title: `${builds} queued builds of ${people} people, a runner that builds nothing`,
        figures: [
          figure('from the first start to the last end', 's', [seconds]),
          ...offPercent.map((off, quarter) =>
            figure(`furthest from fair after ${25 * (quarter + 1)} %`, '%', [off]),
          ),
        ],
        goals: [goal('each within 10 % of fair at every quarter', most, most <= 10)],
      }
    },
  },
]

/** Throws MissingContender where this machine cannot build. */
export async function runBuilderCase(
  { name, run }: BuilderCase,
  disk: string,
  rounds: number,
): Promise<BuilderSummary> {
  const directory = join(disk, name)
  await mkdir(directory)
  return await run(directory, rounds)
}

export function builderText({ name, title, figures, goals }: BuilderSummary): string {
  const lines = figures.map(({ what, unit, median, lowest, highest, samples }) => {
    const spread = samples.length > 1 ? `${lowest.toFixed(2)}–${highest.toFixed(2)}` : ''
    return `  ${what.padEnd(38)}${`${median.toFixed(2)} ${unit}`.padStart(10)}${spread.padStart(16)}`
  })
  const reached = goals.map(
    ({ text, value, met }) => `  goal ${met ? 'met   ' : 'MISSED'}  ${text}: ${value.toFixed(2)}`,
  )
  return [`${name}: ${title}`, ...lines, ...reached, ''].join('\n')
}

async function withSite(
  directory: string,
  work: (site: BuilderSite) => Promise<BuilderSummary>,
): Promise<BuilderSummary> {
  const site = await startBuilderSite(directory)
  try {
    return await work(site)
  } finally {
    await site.stop()
  }
}

interface Turns {
  readonly figures: readonly Figure[]
  readonly overheads: readonly number[]
  readonly percents: readonly number[]
  readonly firstOutputs: readonly number[]
}

async function takeTurns(site: BuilderSite, definition: string, rounds: number): Promise<Turns> {
  const [direct, through, firstOutputs]: [number[], number[], number[]] = [[], [], []]
  // Once each before, so that neither pays for what is read from the disk for the first time.
  await site.buildDirectly(small)
  await site.build(small)
  for (let round = 0; round < rounds; round += 1) {
    direct.push((await site.buildDirectly(definition)) / 1000)
    const times = await site.build(definition)
    through.push(times.end / 1000)
    firstOutputs.push(times.firstOutput / 1000)
  }
  const overheads = through.map((seconds, round) => seconds - (direct[round] ?? NaN))
  return {
    figures: [figure('apptainer build', 's', direct), figure('through Berth', 's', through)],
    overheads,
    percents: overheads.map((seconds, round) => (100 * seconds) / (direct[round] ?? NaN)),
    firstOutputs,
  }
}

function figure(what: string, unit: Figure['unit'], samples: readonly number[]): Figure {
  const [lowest, highest] = [Math.min(...samples), Math.max(...samples)]
  return { what, unit, median: median(samples), lowest, highest, samples }
}

function goal(text: string, value: number, met: boolean): GoalResult {
  return { text, value, met }
}
