/** `npm run build:berthctl-docs [DIR]`: manual pages and completions of berthctl. */
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'
import { berthVersion } from '../../server/version.ts'
import { runCommand, UsageError } from '../exit.ts'
import { writeDocuments } from './write.ts'

await runCommand('build:berthctl-docs', async () => {
  const [target = join(packageRoot, 'dist/share'), ...rest] = process.argv.slice(2)
  if (rest.length > 0) throw new UsageError('Give one directory, or none for dist/share.')
  const files = await writeDocuments(target, berthVersion)
  process.stdout.write(`Wrote ${files} files below ${target}.\n`)
})
