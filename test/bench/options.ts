import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { contenderNames } from './contender.ts'
import type { ContenderName } from './contender.ts'
import { MIB, parseSize } from './units.ts'

export interface Options {
  /** Bytes that every byte case moves for each stream or shares between its uploads. */
  readonly sizeBytes: number
  readonly rounds: number
  /** Beginnings of case names; empty means all. */
  readonly only: readonly string[]
  readonly servers: readonly ContenderName[]
  readonly jsonFile: string | undefined
  readonly workDirectory: string
  readonly help: boolean
}

export const usage = `npm run bench -- [options]

  --size SIZE       of one image (default 1GiB; at least 16MiB)
  --rounds N        of every case, 1 to 100 (default 5)
  --only A,B        cases whose names begin so, for example upload,download-1 (default all)
  --servers A,B     of berth, nginx and registry (default all)
  --json FILE       writes every sample there
  --work DIR        temporary files go below it; its disk is what is measured (default ${tmpdir()})
  --help
`

const smallestSize = 16 * MIB

export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export function readOptions(args: readonly string[]): Options {
  const values = parse(args)
  return {
    sizeBytes: sizeOf(values.size),
    rounds: roundsOf(values.rounds),
    only: listOf(values.only),
    servers: serversOf(values.servers),
    jsonFile: values.json,
    workDirectory: resolve(values.work),
    help: values.help,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        size: { type: 'string', default: '1GiB' },
        rounds: { type: 'string', default: '5' },
        only: { type: 'string', default: '' },
        servers: { type: 'string', default: contenderNames.join(',') },
        json: { type: 'string' },
        work: { type: 'string', default: tmpdir() },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function sizeOf(text: string): number {
  const size = parseSize(text)
  if (size === undefined || size < smallestSize) {
    throw new UsageError(`--size ${text}: expected a size of at least 16MiB, for example 1GiB`)
  }
  return size - (size % MIB)
}

function roundsOf(text: string): number {
  const rounds = Number(text)
  if (Number.isInteger(rounds) && rounds >= 1 && rounds <= 100) return rounds
  throw new UsageError(`--rounds ${text}: expected a number from 1 to 100`)
}

function serversOf(text: string): ContenderName[] {
  return listOf(text).map((word) => {
    const name = contenderNames.find((known) => known === word)
    if (name !== undefined) return name
    throw new UsageError(`--servers ${word}: expected ${contenderNames.join(', ')}`)
  })
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}
