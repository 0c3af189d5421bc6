/** What README.md tells people of signing, done with the real Apptainer and GnuPG. */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { packageRoot } from '../../server/package-root.ts'
import { buildHello } from './apptainer-build.ts'
import { finish } from './apptainer-root.ts'
import type { Apptainer } from './apptainer-root.ts'
import { done, failed, onlyKey, openSite, withoutSigning } from './signing-site.ts'

const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8')
const section = readme.split('\n## ').find((text) => text.startsWith('Sign and verify\n')) ?? ''
const blocks = [...section.matchAll(/^```\n(.*?)^```$/gms)].map((match) => match[1] ?? '')

test(
  'a person follows the page from the key to its revocation',
  { skip: withoutSigning },
  async (t) => {
    const { alice, node, other, server } = await openSite(t)
    const [signing, verifying, retiring, revoking, ...rest] = blocks
    assert.ok(signing && verifying && retiring && revoking)
    assert.deepEqual(rest, [])
    await buildHello(node, 'hello.sif')
    await follow(node, signing)
    const fingerprint = await onlyKey(node)
    await follow(other, verifying)

    writeFileSync(join(node.work, 'token'), alice.credentials?.token ?? assert.fail())
    const line = retiring
      .replace('https://scs.example.org', server.url)
      .replace('FINGERPRINT', fingerprint)
    const retired = await finish('sh', ['-c', `cd ${node.work} && ${line}`], 60)
    assert.match(retired.stdout, /"retiredAt":"\d{4}-/, retired.stderr)
    assert.match((await done(other, 'key', 'search', '-l', 'alice')).stdout, /\[disabled\]/)
    await done(other, 'verify', 'hello_v1.sif')

    await revoke(node, revoking.replaceAll('FINGERPRINT', fingerprint).trim().split('\n'))
    const refused = await failed(other, 'verify', 'hello_v1.sif')
    assert.match(refused.stderr, /signature made by revoked key/)
    assert.match((await done(other, 'key', 'search', '-l', 'alice')).stdout, /\[revoked\]/)
  },
)

/** Each command of a block, and then what it prints, of which the page may leave out lines. */
async function follow(who: Apptainer, block: string): Promise<void> {
  for (const piece of block.split(/^\$ /m).slice(1)) {
    const [command = '', ...shown] = piece.trimEnd().split('\n')
    const outcome = await who.type(`${withAnswers(command)} 2>&1`)
    assert.equal(outcome.status, 0, outcome.stdout)
    const printed = outcome.stdout.split('\n').map(shape)
    // A key of the test has no passphrase.
    for (const line of shown.filter((text) => !text.endsWith('passphrase :')).map(shape)) {
      const place = printed.indexOf(line)
      assert.notEqual(place, -1, `"${line}" is not what "${command}" prints:\n${outcome.stdout}`)
      printed.splice(0, place + 1)
    }
  }
}

/**
 * About one in fifty revocations that GnuPG 2.4 makes with an RSA key of Apptainer it refuses itself
 * as a bad signature, and the next of the same key is good: the page says to repeat it.
 */
async function revoke(who: Apptainer, commands: readonly string[]): Promise<void> {
  let refusals = 0
  for (let index = 0; index < commands.length; index += 1) {
    const typed = withAnswers(commands[index] ?? '')
    const outcome = await who.type(typed)
    if (outcome.status !== 0 && /revocation certificate: Bad signature/.test(outcome.stderr)) {
      refusals += 1
      assert.ok(refusals < 5, outcome.stderr)
      rmSync(join(who.work, 'revoke.asc'))
      index = commands.findIndex((command) => command.includes('--gen-revoke')) - 1
      continue
    }
    assert.equal(outcome.status, 0, `${typed}\n${outcome.stderr}`)
  }
}

/** What a person types when the command asks. */
function withAnswers(command: string): string {
  const gpg = "gpg --no-tty --pinentry-mode loopback --passphrase ''"
  if (command.includes('newpair')) return `${command} --password ''`
  if (command.includes('key export')) return `echo 0 | ${command}`
  if (command.includes('--gen-revoke')) {
    return `printf 'y\\n0\\n\\ny\\n' | ${command.replace('gpg', `${gpg} --command-fd 0`)}`
  }
  return command.replace(/^gpg/, gpg)
}

/** Without what differs from one time and site to the next. */
function shape(line: string): string {
  return line
    .replace(/[0-9A-F]{40}/, 'FINGERPRINT')
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, 'TIME')
    .replace(/\d+\.\d+ [KM]iB/, 'SIZE')
    .replace(/https?:\/\/[^/]+/, 'SITE')
    .replace(/ +/g, ' ')
    .trim()
}
