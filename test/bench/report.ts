import { cpus, release, totalmem } from 'node:os'

import type { BuilderSummary } from './builder-cases.ts'
import type { Contender } from './contender.ts'
import type { Options } from './options.ts'
import type { GoalResult, Row, Summary } from './summary.ts'
import { formatSize, MIB } from './units.ts'

export interface Report {
  readonly startedAt: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly sizeBytes: number
  readonly rounds: number
  readonly contenders: readonly { readonly name: string; readonly version: string }[]
  readonly missing: readonly string[]
  readonly cases: Summary[]
  readonly builder: BuilderSummary[]
}

export function newReport(
  options: Options,
  contenders: readonly Contender[],
  missing: readonly string[],
): Report {
  return {
    startedAt: new Date().toISOString(),
    machine: {
      processor: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.version,
    },
    sizeBytes: options.sizeBytes,
    rounds: options.rounds,
    contenders: contenders.map(({ name, version }) => ({ name, version })),
    missing,
    cases: [],
    builder: [],
  }
}

export function headText(report: Report): string {
  const { machine, contenders, sizeBytes, rounds, missing } = report
  const versions = contenders.map(({ version }) => version).join(', ') || 'Berth'
  return [
    `${versions} · Node ${machine['node']} · ${machine['cores']} × ${machine['processor']}`,
    `${formatSize(sizeBytes)}, medians of ${rounds} interleaved rounds; above 1 × Berth is faster; absolute figures are this machine's today`,
    ...missing.map((line) => `*** MISSING: ${line} ***`),
    '',
  ].join('\n')
}

const columns: readonly { readonly title: string; readonly width: number }[] = [
  { title: 'server', width: -10 },
  { title: 'median', width: 16 },
  { title: 'lowest–highest', width: 16 },
  { title: 'berth/peer', width: 12 },
  { title: 'CPU', width: 14 },
  { title: 'PostgreSQL', width: 12 },
  { title: 'peak RSS', width: 10 },
  { title: 'p50/p99 ms', width: 14 },
]

export function summaryText(summary: Summary): string {
  const { name, title, unit, rows, goals } = summary
  return [
    `${name}: ${title}`,
    line(columns.map((column) => column.title)),
    ...rows.map((row) => line(cells(row, unit))),
    ...goals.map(goalText),
    '',
  ].join('\n')
}

function cells(row: Row, unit: string): string[] {
  const { rate, ratio, latency } = row
  return [
    row.contender,
    `${Math.round(rate)} ${unit}`,
    `${Math.round(row.lowestRate)}–${Math.round(row.highestRate)}`,
    ratio === undefined ? '' : `${ratio.toFixed(2)} ×`,
    `${row.cpu.toFixed(2)} ${unit === 'MiB/s' ? 's/GiB' : 'ms/req'}`,
    row.databaseCpu === 0 ? '' : `+ ${row.databaseCpu.toFixed(2)}`,
    `${Math.round(row.peakBytes / MIB)} MiB`,
    latency === undefined ? '' : `${latency.p50Ms.toFixed(1)}/${latency.p99Ms.toFixed(1)}`,
  ]
}

function line(texts: readonly string[]): string {
  const padded = texts.map((text, index) => {
    const width = columns[index]?.width ?? 0
    return width < 0 ? text.padEnd(-width) : text.padStart(width)
  })
  return `  ${padded.join('')}`.trimEnd()
}

function goalText({ text, value, met }: GoalResult): string {
  return `  goal ${met ? 'met   ' : 'MISSED'}  ${text}: ${Number(value.toPrecision(3))}`
}
