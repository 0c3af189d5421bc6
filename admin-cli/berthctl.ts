/** `berthctl`: what the administrator does on the host, with the server running or not. */
import type { Command } from './command.ts'
import { accountCommand } from './commands/account.ts'
import { auditCommand } from './commands/audit.ts'
import { buildCommand } from './commands/build.ts'
import { builderCommand } from './commands/builder.ts'
import { directoryCommand } from './commands/directory.ts'
import { groupCommand } from './commands/group.ts'
import { imageCommand } from './commands/image.ts'
import { keyCommand } from './commands/key.ts'
import { keyringCommand } from './commands/keyring.ts'
import { policyCommand } from './commands/policy.ts'
import { quotaCommand } from './commands/quota.ts'
import { remoteCommand } from './commands/remote.ts'
import { retentionCommand } from './commands/retention.ts'
import { scrubCommand } from './commands/scrub.ts'
import { statusCommand } from './commands/status.ts'
import { sweepCommand } from './commands/sweep.ts'
import { tokenCommand } from './commands/token.ts'
import { runCommand, UsageError } from './exit.ts'

const commands: Readonly<Record<string, Command>> = {
  account: accountCommand,
  audit: auditCommand,
  build: buildCommand,
  builder: builderCommand,
  directory: directoryCommand,
  group: groupCommand,
  image: imageCommand,
  key: keyCommand,
  keyring: keyringCommand,
  policy: policyCommand,
  quota: quotaCommand,
  remote: remoteCommand,
  retention: retentionCommand,
  scrub: scrubCommand,
  status: statusCommand,
  sweep: sweepCommand,
  token: tokenCommand,
}

const help = `berthctl: administers the Berth of this host

  berthctl account add NAME [--admin]   a new local account; asks for its password
  berthctl account list [--json]        the accounts
  berthctl account disable NAME         ends what an account may do; enable brings it back
  berthctl account rename NAME NEW      gives an account and its space another name
  berthctl account password NAME        a new password for an account
  berthctl audit [--help]               who did what, and who was refused
  berthctl builder list|add|remove      the builders of the site, and the tokens of builder hosts
  berthctl build list|show|output|cancel
                                        the builds of the remote builder
  berthctl directory test NAME          asks LDAP or the portal about a person, step by step
  berthctl group list [--json]          the groups of the directory and their members
  berthctl image deleted|restore|purge  deleted images that can be brought back
  berthctl key list|show|retire         the signing keys of the keystore; tombstone takes one out
  berthctl keyring export DIR           the keys as hosts read them, and who may sign what runs there
  berthctl policy list|set|check        which images the spaces take
  berthctl quota recount [--repair]     proves what the spaces are charged
  berthctl remote [NAME] [--url URL]    writes this endpoint into your remote.yaml
  berthctl retention list|set|preview   what spaces keep, and what they let go
  berthctl scrub [--all], scrub status  reads the store again and finds what is damaged
  berthctl status [--json]              whether Berth is well, and what needs you
  berthctl sweep [--json]               gives disk space back now
  berthctl token list|revoke            the access tokens of accounts

It uses the configuration of the server: BERTH_CONFIG or /etc/berth/berth.toml, and BERTH_DATA_DIR.
"berthctl COMMAND --help" says more. Exit status: 0 done, 1 it did not work, 2 it was called wrongly.
`

await runCommand('berthctl', async () => {
  const [name, ...args] = process.argv.slice(2)
  if (name === undefined) throw new UsageError('Say which command: see berthctl --help.')
  if (isHelp(name) || name === 'help') {
    process.stdout.write(help)
    return
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command === undefined) {
    throw new UsageError(`There is no command "${name}": see berthctl --help.`)
  }
  if (args.some(isHelp)) process.stdout.write(command.help)
  else await command.run(args)
})

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h'
}
