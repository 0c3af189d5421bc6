/** What a person who types `npm start` sees: where Berth listens, and the way to a pushed image. */
import { join } from 'node:path'

import type { FirstAccount } from './accounts/first-account.ts'
import type { Config } from './config.ts'
import { packageRoot } from './package-root.ts'

export function welcome(config: Config, first: FirstAccount | undefined): string {
  const bin = join(packageRoot, 'admin-cli/bin')
  const url = config.publicUrl
  const account =
    first === undefined
      ? []
      : [
          '  The first account, shown this once:',
          '',
          `    user:     ${first.name}`,
          `    password: ${first.password}`,
          '',
        ]
  return [
    '',
    `  Berth serves ${url}  (data in ${config.dataDir})`,
    '',
    ...account,
    '  From here to a pushed image (singularity works like apptainer):',
    '',
    `    ${join(bin, 'berthctl')} remote berth`,
    `    ${join(bin, 'get_singularity_token')} --user ${first?.name ?? 'admin'} > token`,
    '    apptainer remote login --tokenfile token berth',
    `    apptainer push -U image.sif library://${first?.name ?? 'admin'}/demo/image:latest`,
    '',
    `  More accounts: ${join(bin, 'berthctl')} account add NAME`,
    '  Stop with Ctrl-C; the next start finds everything again.',
    '',
    '',
  ].join('\n')
}
