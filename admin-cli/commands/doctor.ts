import { readFileSync } from 'node:fs'

import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import type { Finding } from '../doctor/check.ts'
import { examine } from '../doctor/examine.ts'
import { UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { printable } from '../printable.ts'

const usualHold = 65

const look = verb({
  name: '',
  summary: 'looks at everything, and changes nothing',
  options: {
    all: {
      type: 'boolean',
      summary: 'shows what is well, and what could not be looked at, too',
    },
    hold: {
      type: 'string',
      value: 'SECONDS',
      summary: `how long the proxy is made to wait for an answer (default ${usualHold}, because many cut after 60); 0 leaves this out, and the rest takes a few seconds`,
    },
    ca: {
      type: 'string',
      value: 'FILE',
      summary: 'an authority (PEM) that clients trust besides those of the operating system',
      complete: 'file',
    },
    json: jsonOption,
  },
  notes:
    'The configuration, the data directory and its disk, secrets, the database, the directory or portal, the public address with its certificate, the proxy before Berth, builds on this host, jobs, backups and alarms, with the server running or not. Run it as the account of the service. Exit status 1 when something is wrong; hints alone leave it 0.',
  run: async (_words, values) => {
    const holdSeconds = Number(values.hold ?? usualHold)
    if (!Number.isInteger(holdSeconds) || holdSeconds < 0 || holdSeconds > 600) {
      throw new UsageError('--hold takes seconds, 0 to 600.')
    }
    const ca = values.ca === undefined ? undefined : readFileSync(values.ca, 'utf8')
    if (holdSeconds > 0) process.stderr.write(`looking, for some ${holdSeconds} seconds …\n`)
    const findings = await examine({ holdSeconds, ca })
    if (findings.some(({ state }) => state === 'fault')) process.exitCode = 1
    if (values.json) return printJson({ findings })
    process.stdout.write(describe(findings, values.all))
  },
})

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'what is wrong with this site, and what mends it',
  verbs: [look],
}

function describe(findings: readonly Finding[], all: boolean): string {
  const of = (state: Finding['state']): readonly Finding[] =>
    findings.filter((finding) => finding.state === state)
  const wrong = [...of('fault'), ...of('warning')]
  const lines = wrong.flatMap(({ check, state, what, fix }) => [
    `${state === 'fault' ? 'FAULT' : 'hint '} ${check}: ${printable(what)}`,
    `      ${fix}`,
  ])
  const rest = all
    ? [
        ...of('skipped').map(({ check, what }) => `-     ${check}: ${printable(what)}`),
        ...of('ok').map(({ check }) => `ok    ${check}`),
      ]
    : []
  const sum = `${of('fault').length} faults, ${of('warning').length} hints, ${of('ok').length} checks are well, ${of('skipped').length} do not apply`
  return [...lines, ...rest, sum].map((line) => `${line}\n`).join('')
}
