import { parseArgs } from 'node:util'

import { readConfig } from '../../server/config.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'

const help = `berthctl config check [FILE]: whether the server would take this configuration

  FILE   instead of BERTH_CONFIG or /etc/berth/berth.toml

Prints every mistake with its place, and exits with 2 when there is one. Nothing is opened or changed.
`

export const configCommand: Command = {
  help,
  run: async (args) => {
    const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options: {} })
    const [verb, file, ...rest] = positionals
    if (verb !== 'check' || rest.length > 0) {
      throw new UsageError('Say "check", and at most one file: see berthctl config --help.')
    }
    const env = file === undefined ? process.env : { ...process.env, BERTH_CONFIG: file }
    process.stdout.write(`The configuration is right: ${readConfig(env).publicUrl}\n`)
  },
}
