/**
 * Secrets that systemd hands over (LoadCredential=): files in a directory that only this service can
 * read. One is named after its key with the tables before it, such as `database.password_file`, and
 * stands in the place of the file that the configuration names; `berth_` before it is what
 * `LoadCredential=berth:/etc/berth/secrets` puts there.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const credentialName = /^(?:berth_)?((?:[a-z][a-z_]*\.)*[a-z][a-z_]*_file)$/

/**
 * Sets the keys whose secrets are in the directory. A key in a table that the configuration does
 * not have stays out: a secret that is left over configures nothing.
 */
export function applyCredentials(settings: Record<string, unknown>, directory: string): void {
  for (const file of readdirSync(directory).sort()) {
    const key = credentialName.exec(file)?.[1]
    if (key === undefined) continue
    const tables = key.split('.')
    const last = tables.pop() ?? ''
    let table: unknown = settings
    for (const name of tables) table = isTable(table) ? table[name] : undefined
    if (isTable(table)) table[last] = join(directory, file)
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
