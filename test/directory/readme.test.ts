/** The examples of README.md for the site's administrator are configurations that Berth takes. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { parse } from 'smol-toml'

import { makeConfig } from '../../server/config.ts'
import { openDirectory } from '../../server/directory/open-directory.ts'
import { packageRoot } from '../../server/package-root.ts'
import { CertificateAuthority, hasOpenssl } from '../support/certificate-authority.ts'
import { silent } from './ldap.ts'

const skip = hasOpenssl || process.env['CI'] === 'true' ? false : 'openssl is not installed'

const directory = mkdtempSync(join(tmpdir(), 'berth-readme-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8')
const [, chapter = ''] = readme.split(/^### Directory$/m)
const examples = [...chapter.matchAll(/^```toml\n(.*?)^```$/gms)]
  .map(([, text = '']) => text)
  .filter((text) => text.includes('[directory]'))

test('there is an example for each preset, and one for a portal', () => {
  for (const what of ['"openldap"', '"activedirectory"', '"freeipa"', '"portal"', 'direct_bind']) {
    assert.ok(
      examples.some((text) => text.includes(what)),
      what,
    )
  }
})

for (const [index, text] of examples.entries()) {
  const title = /^(?:preset|provider = "portal").*$/m.exec(text)?.[0] ?? text
  test(`example ${index + 1}, ${title}`, { skip }, () => {
    // The files of the examples are not on this machine.
    const { caFile } = new CertificateAuthority(directory)
    const password = join(directory, 'password')
    writeFileSync(password, 'x\n')
    const here = text
      .replace(/^(ca_file = )"[^"]+"/m, `$1"${caFile}"`)
      .replace(/^(bind_password_file = )"[^"]+"/m, `$1"${password}"`)
    const { directory: settings } = makeConfig(parse(here))
    assert.ok(openDirectory(settings, silent))
  })
}

test('every key of the settings is in the chapter', () => {
  for (const file of ['ldap-settings.ts', 'portal-settings.ts']) {
    const source = readFileSync(join(packageRoot, 'server', file), 'utf8')
    const [, table = ''] = /strictObject\(\{(.*?)\n {2}\.check/s.exec(source) ?? []
    const keys = [...table.matchAll(/^\s+([a-z_]+):/gm)].map(([, key = '']) => key)
    assert.ok(keys.length > 12, file)
    for (const key of keys) assert.match(chapter, new RegExp(`\\b${key}\\b`), `${file}: ${key}`)
  }
})
