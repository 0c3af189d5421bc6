/** The units as systemd-analyze sees them; what they do under systemd is the site's test. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { packageRoot } from '../../server/package-root.ts'
import { without } from '../support/systemd.ts'

const directory = join(packageRoot, 'systemd')
const units = readdirSync(directory).filter((name) => /\.(?:service|socket|timer)$/.test(name))
const skip = without('systemd-analyze')
const skipAccounts =
  process.getuid?.() === 0 ? without('systemd-sysusers') : 'only root can give files away'

test('the units have the names that documents and playbooks know', () => {
  assert.deepEqual(units.sort(), [
    'berth-backup.service',
    'berth-backup.timer',
    'berth-builder.service',
    'berth.service',
    'berth.socket',
  ])
})

test('systemd-analyze verify has nothing to say', { skip }, () => {
  const { status, output } = analyze('verify', ...units.map((name) => join(directory, name)))
  assert.equal(output, '')
  assert.equal(status, 0)
})

test('a mistake in a unit is seen', { skip }, () => {
  const { output } = analyze('verify', join(packageRoot, 'test/systemd/mistaken.service'))
  assert.match(output, /Restrat/)
})

/** Exposure in tenths, as --threshold counts it: 10 is 1.0. */
const exposures: readonly (readonly [string, number])[] = [
  ['berth.service', 10],
  ['berth-backup.service', 10],
  ['berth-builder.service', 35],
]
for (const [unit, threshold] of exposures) {
  test(`${unit} is exposed to ${threshold / 10} at most`, { skip }, () => {
    const offline = ['security', '--offline=true', '--no-pager', `--threshold=${threshold}`]
    const { status, output } = analyze(...offline, join(directory, unit))
    assert.equal(status, 0, output)
  })
}

test('the server says that it lives, is started again, and does not try a wrong configuration twice', () => {
  const service = section('berth.service', 'Service')
  for (const [key, value] of [
    ['Type', 'notify'],
    ['NotifyAccess', 'main'],
    ['WatchdogSec', '60s'],
    ['Restart', 'on-failure'],
    ['RestartPreventExitStatus', '2'],
    ['LoadCredential', 'berth:/etc/berth/secrets'],
    ['StateDirectory', 'berth'],
    ['RuntimeDirectory', 'berth'],
    // Without it the socket's file would go with the first stop.
    ['RuntimeDirectoryPreserve', 'yes'],
  ]) {
    assert.deepEqual(service.get(key ?? ''), [value], key)
  }
  assert.deepEqual(section('berth.service', 'Unit').get('Requires'), ['berth.socket'])
})

test('builds outlive a restart of the builder', () => {
  assert.deepEqual(section('berth-builder.service', 'Service').get('KillMode'), ['process'])
})

test(
  'the accounts and directories are made, as often as one likes',
  { skip: skipAccounts },
  (t) => {
    const root = mkdtempSync(join(tmpdir(), 'berth-root-'))
    t.after(() => rmSync(root, { recursive: true, force: true }))
    mkdirSync(join(root, 'etc/berth'), { recursive: true })
    writeFileSync(join(root, 'etc/berth/berth.toml'), '')
    for (const kind of ['sysusers', 'tmpfiles']) {
      cpSync(join(directory, `${kind}.d`), join(root, `usr/lib/${kind}.d`), { recursive: true })
    }
    for (let turn = 0; turn < 2; turn += 1) {
      for (const command of [['sysusers'], ['tmpfiles', '--create']]) {
        const [program, ...args] = command
        const made = spawnSync(`systemd-${program}`, [...args, `--root=${root}`, 'berth.conf'])
        assert.equal(made.status, 0, made.stderr.toString())
      }
    }
    const idOf = (file: string, name: string): string | undefined =>
      new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(readFileSync(join(root, file), 'utf8'))?.[1]
    assert.match(readFileSync(join(root, 'etc/passwd'), 'utf8'), /^berth:.*:\/usr\/sbin\/nologin$/m)
    const [server, group, builder] = [
      idOf('etc/passwd', 'berth'),
      idOf('etc/group', 'berth'),
      idOf('etc/passwd', 'berth-builder'),
    ]
    for (const [path, mode, uid, gid] of [
      ['etc/berth', '751', '0', group],
      ['etc/berth/berth.toml', '640', '0', group],
      ['etc/berth/secrets', '700', '0', '0'],
      ['run/berth', '755', server, group],
      ['var/lib/berth', '750', server, group],
      ['var/lib/berth-builder', '700', builder, idOf('etc/group', 'berth-builder')],
      ['var/backups/berth', '700', server, group],
    ]) {
      const found = statSync(join(root, path ?? ''))
      const is = [(found.mode & 0o777).toString(8), String(found.uid), String(found.gid)]
      assert.deepEqual(is, [mode, uid, gid], path)
    }
  },
)

function analyze(...args: readonly string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

/** All values of each key. */
function section(unit: string, name: string): Map<string, string[]> {
  const values = new Map<string, string[]>()
  let current = ''
  for (const line of readFileSync(join(directory, unit), 'utf8').split('\n')) {
    const heading = /^\[(\w+)\]$/.exec(line)?.[1]
    if (heading !== undefined) current = heading
    const [, key, value = ''] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? []
    if (key === undefined || current !== name) continue
    values.set(key, [...(values.get(key) ?? []), value])
  }
  return values
}
