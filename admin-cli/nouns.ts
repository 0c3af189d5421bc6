/** All that `berthctl` knows, in the order of the alphabet. A noun is one line here. */
import type { Command } from './command.ts'
import { accountCommand } from './commands/account.ts'
import { auditCommand } from './commands/audit.ts'
import { backupCommand } from './commands/backup.ts'
import { buildCommand } from './commands/build.ts'
import { builderCommand } from './commands/builder.ts'
import { configCommand } from './commands/config.ts'
import { directoryCommand } from './commands/directory.ts'
import { doctorCommand } from './commands/doctor.ts'
import { fsckCommand } from './commands/fsck.ts'
import { gcCommand } from './commands/gc.ts'
import { groupCommand } from './commands/group.ts'
import { imageCommand } from './commands/image.ts'
import { keyCommand } from './commands/key.ts'
import { keyringCommand } from './commands/keyring.ts'
import { migrateCommand } from './commands/migrate.ts'
import { policyCommand } from './commands/policy.ts'
import { quotaCommand } from './commands/quota.ts'
import { remoteCommand } from './commands/remote.ts'
import { repositoryCommand } from './commands/repository.ts'
import { restoreCommand } from './commands/restore.ts'
import { retentionCommand } from './commands/retention.ts'
import { scrubCommand } from './commands/scrub.ts'
import { secretsCommand } from './commands/secrets.ts'
import { statusCommand } from './commands/status.ts'
import { tokenCommand } from './commands/token.ts'
import { usageCommand } from './commands/usage.ts'

export const nouns: readonly Command[] = [
  accountCommand,
  auditCommand,
  backupCommand,
  buildCommand,
  builderCommand,
  configCommand,
  directoryCommand,
  doctorCommand,
  fsckCommand,
  gcCommand,
  groupCommand,
  imageCommand,
  keyCommand,
  keyringCommand,
  migrateCommand,
  policyCommand,
  quotaCommand,
  remoteCommand,
  repositoryCommand,
  restoreCommand,
  retentionCommand,
  scrubCommand,
  secretsCommand,
  statusCommand,
  tokenCommand,
  usageCommand,
]
