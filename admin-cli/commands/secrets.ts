import { audit } from '../../server/accounts/audit.ts'
import type { Appliance } from '../../server/appliance.ts'
import type { SecretAge } from '../../server/rotated-secret.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

/** By name: what ends when the former one is not accepted any more. */
const consequences: Readonly<Record<string, string>> = {
  'token-signing-key':
    'Tokens of the OCI registry end, which clients get anew by themselves; pushes that are under way may fail. Access tokens stay valid.',
  'capability-key':
    'Addresses for downloads and uploads that were handed out end: transfers that are under way fail and must be begun again.',
}

const names = Object.keys(consequences)

const list = verb({
  name: 'list',
  summary: 'the secrets that Berth made for itself, and how old they are; never what they are',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async (appliance) => {
      const ages = secretsOf(appliance).map((secret) => secret.age())
      if (json) return printJson(ages)
      const rows = ages.map((age) => [
        age.name,
        age.madeAt.toISOString().slice(0, 10),
        `${Math.floor((Date.now() - age.madeAt.getTime()) / 86_400_000)} days`,
        formerWords(age),
        age.file,
      ])
      process.stdout.write(table([['Secret', 'Made', 'Age', 'Former ones', 'File'], ...rows]))
    })
  },
})

const rotate = verb({
  name: 'rotate',
  summary: 'makes a new secret; what the former one has made stays good for its time',
  arguments: { SECRET: { summary: names.join(' or '), complete: names } },
  options: {
    now: {
      type: 'boolean',
      summary: 'former ones are not accepted any more: for a secret that somebody has seen',
    },
    yes: yesOption,
  },
  notes:
    'The running server takes it up by itself. With a new token-signing-key, /v1/keys/public shows the former one too, for as long as an access token may live that it has signed; its private half is gone. No access token ends, with --now neither.',
  run: async ({ SECRET: name }, { now, yes }) => {
    if (!names.includes(name)) throw new UsageError(`SECRET is ${names.join(' or ')}.`)
    await withAppliance(configOfServer(), async (appliance) => {
      const { database } = appliance
      const secret = secretsOf(appliance).find((one) => one.name === name)
      if (secret === undefined) throw new CommandError(`There is no secret ${name}.`)
      if (now) await requireYes(consequences[name] ?? '', 'Rotate it now?', yes)
      const alone = await database.exclusively(`rotation of ${name}`, async () => {
        await database.transaction(async (tx) => {
          await audit(tx, hostOperator, { action: 'secret.rotate', target: name, details: { now } })
          await secret.rotate({ now })
        })
      })
      if (!alone) throw new CommandError(`Somebody else is rotating ${name} right now.`)
      process.stdout.write(`There is a new ${name}${formerSentence(secret.age())}\n`)
    })
  },
})

function secretsOf({ signingKeys, capabilityKeys }: Appliance) {
  return [signingKeys, capabilityKeys] as const
}

function formerWords({ former }: SecretAge): string {
  const [newest] = former
  if (newest === undefined) return 'none'
  return `${former.length}, until ${newest.acceptedUntil.toISOString().slice(0, 16)}`
}

function formerSentence({ former }: SecretAge): string {
  const [newest] = former
  if (newest === undefined) return '; no former one is accepted.'
  return `; the former one is accepted until ${newest.acceptedUntil.toISOString().slice(0, 16)} (UTC).`
}

export const secretsCommand: Command = {
  name: 'secrets',
  summary: 'the secrets that Berth made for itself',
  verbs: [list, rotate],
  notes:
    "Passwords for the database and the directory are the site's own: they are in the files that the configuration names.",
}
