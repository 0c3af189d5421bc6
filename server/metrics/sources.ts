/** All figures that are asked for when somebody looks: a line each. */
import { join } from 'node:path'

import type { Config } from '../config.ts'
import type { Database } from '../database.ts'
import { diskSource } from './host.ts'
import { backupRows, driftRow, jobRows, scrubRow } from './job-rows.ts'
import { alarmRows, buildRows, clockRow, storeRows, tokenRows, uploadRows } from './rows.ts'
import type { MetricSource } from './source.ts'

export function metricSources(config: Config, database: Database): readonly MetricSource[] {
  return [
    diskSource(join(config.dataDir, 'store'), config.storage.keepFreeBytes),
    tokenRows(database),
    uploadRows(database),
    storeRows(database),
    buildRows(database),
    alarmRows(database),
    clockRow(database),
    jobRows(database),
    scrubRow(database),
    driftRow(database),
    backupRows(database),
  ]
}
