/** What the listings share: how they are asked for, single rows by their IDs, names of accounts. */
import { CommandError } from '../exit.ts'
import type { Form } from './output.ts'
import type { Services } from './services.ts'

export interface GetOptions {
  readonly form: Form
  readonly user: string | undefined
  readonly showDisabled: boolean
  readonly showAuto: boolean
  /** Of builds: everybody's. */
  readonly all: boolean
  /** Of builds: when they were submitted, as typed. */
  readonly from: string | undefined
  readonly to: string | undefined
}

export interface Report {
  info(text: string): void
  warn(text: string): void
}

/** One that fails is a warning, and the others are shown. */
export async function eachOf<Row>(
  refs: readonly string[],
  report: Report,
  find: (ref: string) => Promise<Row>,
): Promise<Row[]> {
  const rows: Row[] = []
  for (const ref of refs) {
    try {
      rows.push(await find(ref))
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      report.warn(error.message)
    }
  }
  return rows
}

/** Of accounts, for tables: json and yaml have the IDs as they are. */
export async function namesOf(
  services: Services,
  ids: readonly string[],
  { form }: GetOptions,
  report: Report,
): Promise<ReadonlyMap<string, string>> {
  if (form === 'json' || form === 'yaml') return new Map()
  return await services.accountNames(ids, (text) => report.warn(text))
}
