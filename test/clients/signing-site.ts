/** A site whose people sign: what the tests of the keystore do with the real Apptainer. */
import assert from 'node:assert/strict'
import { chmodSync, chownSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { findApptainerRoot, openApptainer, withoutApptainer } from './apptainer-root.ts'
import type { Apptainer, Outcome } from './apptainer-root.ts'

const root = findApptainerRoot()
export const withoutSigning = withoutApptainer(root)

/**
 * A server; a machine where alice has signed in, one where nobody has, and more of those, each
 * with an /etc/apptainer of its own where one is named.
 */
export async function openSite(t: TestContext) {
  const server = await startServer(t)
  const alice = await server.account('alice')
  const node = openApptainer(t, { root })
  node.useRemote(server.url, alice.credentials?.token)
  const newMachine = (etc?: string): Apptainer => {
    const options = { root, work: node.work }
    const machine = openApptainer(t, etc === undefined ? options : { ...options, etc })
    machine.useRemote(server.url)
    return machine
  }
  return { server, alice, node, other: newMachine(), newMachine }
}

export async function done(who: Apptainer, ...args: readonly string[]): Promise<Outcome> {
  const outcome = await who.run(...args)
  assert.equal(outcome.status, 0, `${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
  return outcome
}

export async function failed(who: Apptainer, ...args: readonly string[]): Promise<Outcome> {
  const outcome = await who.run(...args)
  assert.notEqual(outcome.status, 0, `${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
  return outcome
}

/** As the site's page for users says: the account in both places. */
export function person(name: string, comment: string): string[] {
  return ['--name', name, '--email', name, '--comment', comment, '--password', '']
}

export async function newpair(
  who: Apptainer,
  comment: string,
  push: string,
  name = 'alice',
): Promise<Outcome> {
  return await done(who, 'key', 'newpair', ...person(name, comment), push)
}

/** Of a machine that has one. */
export async function onlyKey(who: Apptainer): Promise<string> {
  const { stdout } = await done(who, 'key', 'list')
  const found = [...stdout.matchAll(/^ +Fingerprint: +([0-9A-F]{40})$/gm)].map((match) => match[1])
  assert.equal(found.length, 1, stdout)
  return found[0] ?? assert.fail()
}

export function putImage(who: Apptainer, file: string, seed: string): void {
  const path = join(who.work, file)
  writeFileSync(path, makeSif({ seed }))
  chownSync(path, 1000, 1000)
}

export async function retire(owner: Client, fingerprint: string): Promise<void> {
  const reply = await owner.put(`/api/v1/keys/${fingerprint}`, { retired: true })
  assert.equal(reply.status, 200, reply.body.toString())
}

export function assertVerified(
  { status, stdout, stderr }: Outcome,
  where: 'LOCAL' | 'REMOTE' | 'GLOBAL',
  userId: string | undefined,
  fingerprint: string,
): void {
  assert.equal(status, 0, stderr)
  const [entity, key, objects, head] = stdout.split('\n').map((line) => line.replace(/ +/g, ' '))
  assert.deepEqual(
    [entity, key, objects, head],
    [
      `[${where}] Signing entity: ${userId}`,
      `[${where}] Fingerprint: ${fingerprint}`,
      'Objects verified:',
      'ID |GROUP |LINK |TYPE',
    ],
  )
}

/** A directory of the host with what the root has in /etc/apptainer, for a machine of its own. */
export function copyEtc(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'berth-etc-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  chmodSync(path, 0o755)
  cpSync(join(root ?? assert.fail('there is no Apptainer root'), 'etc/apptainer'), path, {
    recursive: true,
  })
  return path
}
