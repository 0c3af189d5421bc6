/** What README.md tells of login nodes, for the tests that do it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8')
const [, chapter = ''] = /^### Login nodes\n(.*?)^##/ms.exec(readme) ?? []
const [install = [], remotes = [], typed = []] = [...chapter.matchAll(/^```\n(.*?)^```$/gms)].map(
  ([, text = '']) => text.trimEnd().split('\n'),
)

/** To make the prefix and to load the module, to make the endpoint the default, to use it. */
export const commands: Readonly<Record<'install' | 'remotes' | 'typed', readonly string[]>> = {
  install,
  remotes,
  typed,
}

/** The site of the examples. */
export const example = { url: 'https://scs.example.org', site: 'example', prefix: '/shared/berth' }
