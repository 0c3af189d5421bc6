import { stringify } from 'smol-toml'

import { readConfig, readSettings } from '../../server/config.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { jsonOption, printJson } from '../json-option.ts'

const fileWord = {
  optional: true,
  summary: 'instead of BERTH_CONFIG or /etc/berth/berth.toml',
  complete: 'file',
} as const

const show = verb({
  name: 'show',
  summary: 'what holds: the file, the environment and the defaults together, without secrets',
  arguments: { FILE: fileWord },
  options: { json: jsonOption },
  run: async ({ FILE: file }, { json }) => {
    const { file: read, settings } = readSettings(environment(file))
    if (json) return printJson(settings)
    process.stdout.write(`# ${read}, with defaults; sizes are bytes\n${stringify(settings)}\n`)
  },
})

const check = verb({
  name: 'check',
  summary: 'whether the server would take a configuration; nothing is opened or changed',
  arguments: { FILE: fileWord },
  notes: 'Prints every mistake with its place, and exits with 2 when there is one.',
  run: async ({ FILE: file }) => {
    process.stdout.write(`The configuration is right: ${readConfig(environment(file)).publicUrl}\n`)
  },
})

function environment(file: string | undefined): NodeJS.ProcessEnv {
  return file === undefined ? process.env : { ...process.env, BERTH_CONFIG: file }
}

export const configCommand: Command = {
  name: 'config',
  summary: 'the configuration of the server',
  verbs: [show, check],
}
