/** berthctl on the data of a server that runs in this process. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Lifetime, TestServer } from '../support/server.ts'
import { run } from './command.ts'
import type { Outcome } from './command.ts'

export interface Control {
  /** The configuration that names the data. */
  readonly file: string
  readonly berthctl: (...words: readonly string[]) => Promise<Outcome>
  /** The same with --json; it must succeed. */
  readonly json: <Result>(...words: readonly string[]) => Promise<Result>
}

/** `more` is TOML that stands below the tables of the file. */
export function controlOf(t: Lifetime, server: TestServer, more = ''): Control {
  const directory = mkdtempSync(join(tmpdir(), 'berth-control-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n${more}`)
  const berthctl = async (...words: readonly string[]): Promise<Outcome> =>
    await run('berthctl', words, { env: { BERTH_CONFIG: file } })
  return {
    file,
    berthctl,
    json: async (...words) => {
      const { code, stdout, stderr } = await berthctl(...words, '--json')
      if (code !== 0) throw new Error(`${words.join(' ')}: ${stderr}`)
      return JSON.parse(stdout)
    },
  }
}
