/**
 * A site in a box, from bare hosts to a person who follows ABCI's page. Runs inside of the box that
 * main.ts opens; each step needs those before it.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { applianceVariables } from './appliance.ts'
import { openLoginNode } from './login-node.ts'
import { openDirectory } from './people.ts'
import { changesOf, play } from './playbook.ts'
import type { Play } from './playbook.ts'
import { hostNames, openSite } from './site.ts'
import type { Materials } from './site.ts'
import { walkThePage } from './walk.ts'

const given = process.env['BERTH_SITE']
if (given === undefined) throw new Error('This runs in a box: npm run test:site')
const materials = JSON.parse(given) as Materials

test('a site in a box', async (t) => {
  const begun = Date.now()
  const site = await openSite(materials)
  const { appliance, login } = site.hosts
  await Promise.all([
    openDirectory(site),
    openLoginNode(site),
    // As every host has them that was installed from somewhere.
    appliance.must('apt-get -qq update'),
  ])
  t.diagnostic(`three hosts are up after ${seconds(begun)} s`)
  const { suite, node } = materials.appliance
  assert.equal((await appliance.must('. /etc/os-release && echo $VERSION_CODENAME')).trim(), suite)
  const variables = applianceVariables(site)

  const step = async (name: string, work: () => Promise<void>): Promise<void> => {
    const start = Date.now()
    let passed = false
    await t.test(name, async (one) => {
      await work()
      passed = true
      one.diagnostic(`${seconds(start)} s`)
    })
    // What follows stands on it.
    if (!passed) {
      process.stderr.write(
        (await appliance.run('journalctl --no-pager -n 80; systemctl --failed')).stdout,
      )
      throw new Error(`stopped after: ${name}`)
    }
  }

  await step('a check says what the role would do to a bare host, and does nothing', async () => {
    const checked = await play(site, 'site.yml', variables, { check: true })
    assertPlayed(checked)
    assert.ok(checked.changed > 5)
    assert.notEqual((await appliance.run('test -e /opt/berth')).status, 0)
  })

  await step('the role takes a bare host to a serving appliance', async () => {
    assertPlayed(await play(site, 'site.yml', variables))
    await appliance.must('berthctl --help >/dev/null')
    const state = await appliance.must(
      'systemctl is-active berth.service berth.socket nginx.service',
    )
    assert.deepEqual(state.trim().split('\n'), ['active', 'active', 'active'])
    t.diagnostic((await appliance.must(versions)).trim())
    const pid = await appliance.must('systemctl show --property MainPID --value berth.service')
    const running = await appliance.must(`readlink /proc/${pid.trim()}/exe`)
    const place = node === undefined ? '/usr' : `/opt/berth/node-${node.sha256.slice(0, 12)}`
    assert.equal(running.trim(), `${place}/bin/node`)
  })

  await step('a second run changes nothing, and so does a check', async () => {
    const again = await play(site, 'site.yml', variables)
    assertPlayed(again)
    assert.deepEqual(changesOf(again), [])
    const checked = await play(site, 'site.yml', variables, { check: true })
    assertPlayed(checked)
    assert.deepEqual(changesOf(checked), [])
  })

  await step('a configuration that Berth refuses does not reach it', async () => {
    const wrong = await play(site, 'site.yml', variables, { variables: { berth_quota: 'a lot' } })
    assert.notEqual(wrong.status, 0)
    assert.match(wrong.output, /quota\.default/)
    await appliance.must(
      'systemctl is-active berth.service && grep -q "100 GiB" /etc/berth/berth.toml',
    )
  })

  await step('the units run with their walls', async () => {
    const shown = await appliance.must(
      'systemctl show berth.service -p User -p NoNewPrivileges -p ProtectSystem -p PrivateDevices -p MainPID',
    )
    for (const line of [
      'User=berth',
      'NoNewPrivileges=yes',
      'ProtectSystem=strict',
      'PrivateDevices=yes',
    ]) {
      assert.ok(shown.includes(line), shown)
    }
    // What this systemd does not know of them, it has said when it read them.
    const journal = await appliance.must('journalctl --boot --no-pager _PID=1')
    assert.doesNotMatch(journal, /\/berth[\w.-]*:\d+: /)
    const pid = /^MainPID=(\d+)$/m.exec(shown)?.[1] ?? assert.fail(shown)
    const status = await appliance.must(`cat /proc/${pid}/status`)
    assert.match(status, /^CapBnd:\t0+$/m)
    assert.match(status, /^NoNewPrivs:\t1$/m)
    assert.match(status, /^Seccomp:\t2$/m)
    // From inside: neither the secrets' own place nor the system can be written, the data can.
    const inside = `nsenter --target ${pid} --mount --`
    assert.notEqual((await appliance.run(`${inside} touch /etc/berth/probe`)).status, 0)
    await appliance.must(`${inside} sh -c 'touch /var/lib/berth/probe && rm /var/lib/berth/probe'`)
  })

  await step(
    'the role of the login nodes brings the commands, and changes nothing twice',
    async () => {
      const certificate = await appliance.must('cat /etc/berth/tls/site.pem')
      writeFileSync(join(materials.directory, 'site.pem'), certificate)
      assertPlayed(await play(site, 'login-nodes.yml', variables, { check: true }))
      assertPlayed(await play(site, 'login-nodes.yml', variables))
      const again = await play(site, 'login-nodes.yml', variables)
      assertPlayed(again)
      assert.deepEqual(changesOf(again), [])
    },
  )

  await walkThePage(t, site)

  const version = async (): Promise<string> =>
    await login.must(`curl --fail --silent --show-error https://${hostNames.appliance}/version`)

  await step('an upgrade switches to the next release, and a rollback back', async () => {
    const next = { berth_release: materials.releases[1] }
    assertPlayed(await play(site, 'upgrade.yml', variables, { variables: next }))
    assert.match(await version(), /-next/)
    assert.equal(await countBackups(), 1, 'it began with a backup')
    await appliance.must('berthctl backup verify')
    const again = await play(site, 'upgrade.yml', variables, { variables: next })
    assertPlayed(again)
    assert.deepEqual(changesOf(again), [])
    assertPlayed(await play(site, 'rollback.yml', variables))
    assert.doesNotMatch(await version(), /-next/)
    await walkAfterwards()
  })

  await step('the backup of every night is one of its own unit', async () => {
    const before = await countBackups()
    await appliance.must('systemctl is-active berth-backup.timer')
    await appliance.must('systemctl start berth-backup.service')
    assert.equal(await countBackups(), before + 1)
    await appliance.must('berthctl backup verify')
  })

  async function countBackups(): Promise<number> {
    const backups: unknown = JSON.parse(await appliance.must('berthctl backup list --json'))
    if (!Array.isArray(backups)) throw new Error('The backups are no list.')
    return backups.length
  }

  async function walkAfterwards(): Promise<void> {
    const kept = await login.as('bob', 'module load berth && singularity search hello')
    assert.match(kept.stdout, /library:\/\/alice\/abci-lib\/hello/, kept.stderr)
  }
})

/** What the appliance is made of, in one line. */
const versions =
  'echo Debian $(cat /etc/debian_version), $(systemctl --version | head -n 1), $(nginx -v 2>&1), $(psql --version)'

function assertPlayed(outcome: Play): void {
  assert.equal(outcome.status, 0, outcome.output.slice(-6000))
  assert.equal(outcome.failed, 0)
}

function seconds(since: number): number {
  return Math.round((Date.now() - since) / 1000)
}
