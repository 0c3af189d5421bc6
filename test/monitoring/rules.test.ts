/** Alert rules and dashboard: promtool takes them, and every figure that they ask for is there. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { parse as parseYaml } from 'yaml'

import { sql } from '../../server/database.ts'
import { certificateSource } from '../../server/metrics/host.ts'
import { packageRoot } from '../../server/package-root.ts'
import { labelValues, samplesOf } from '../api/metric-text.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { startServer } from '../support/server.ts'

const directory = join(packageRoot, 'systemd/monitoring')
const cache = process.env['BERTH_CACHE'] ?? '/var/cache/berth'
const promtool = [join(cache, 'promtool/promtool'), 'promtool'].find(
  (program) => spawnSync(program, ['--version']).status === 0,
)
const skip =
  promtool === undefined && process.env['CI'] !== 'true' ? 'promtool is not installed' : false

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string }
}

const rules = (
  parseYaml(readFileSync(join(directory, 'alerts.yml'), 'utf8')) as {
    groups: { rules: Rule[] }[]
  }
).groups.flatMap((group) => group.rules)

test('promtool takes the rules', { skip }, () => {
  run('check', 'rules', join(directory, 'alerts.yml'))
})

test('the rules say what they should of time series that go wrong', { skip }, () => {
  run('test', 'rules', join(directory, 'alerts.test.yml'))
})

function run(...args: readonly string[]): void {
  assert.ok(promtool !== undefined, '.ci/run installs promtool')
  const { status, stdout, stderr } = spawnSync(promtool, args, { encoding: 'utf8' })
  assert.equal(status, 0, `${stdout}${stderr}`)
}

test('each alert says what it is and what to do', () => {
  assert.ok(rules.length >= 15)
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
  for (const { alert, labels, annotations } of rules) {
    assert.match(alert, /^Berth[A-Z]/)
    assert.match(labels.severity, /^(page|warn)$/)
    assert.ok(annotations.summary.length > 10, alert)
    assert.ok(annotations.description.length > 20, alert)
  }
})

test('every figure that rules and dashboard ask for is in /metrics, with its labels', async (t) => {
  const text = await everything(t)
  const known = new Set(samplesOf(text).map(({ name }) => name))
  const labels = labelValues(text)
  // Prometheus adds these itself.
  const added = new Set(['job', 'instance', 'le'])
  const dashboard = JSON.parse(readFileSync(join(directory, 'dashboard.json'), 'utf8')) as {
    panels: { targets: { expr: string }[] }[]
  }
  const expressions = [
    ...rules.map(({ expr }) => expr),
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ]
  assert.ok(expressions.length > 60)
  for (const expr of expressions) {
    const names = expr.match(/\b(?:berth|nodejs|process)_\w+/g) ?? []
    assert.ok(names.length > 0 || expr.startsWith('up{'), expr)
    for (const name of names) assert.ok(known.has(name), `${name} is not in /metrics`)
    const asked = [...expr.matchAll(/(\w+)=~?"/g), ...expr.matchAll(/by \(([^)]+)\)/g)]
    for (const label of asked.flatMap(([, found = '']) => found.split(', '))) {
      assert.ok(labels.has(label) || added.has(label), `${label} in ${expr}`)
    }
  }
})

test('what has to wake people is among the alerts', () => {
  const asked = new Set(rules.flatMap(({ expr }) => expr.match(/\bberth_\w+/g) ?? []))
  for (const name of [
    'berth_blobs_damaged',
    'berth_scrub_last_pass_timestamp_seconds',
    'berth_disk_free_ratio',
    'berth_directory_duration_seconds_count',
    'berth_sign_ins_total',
    'berth_database_waiting',
    'berth_build_queue_oldest_seconds',
    'berth_builders_resting',
    'berth_audit_failures_total',
    'berth_certificate_expires_timestamp_seconds',
    'berth_backup_last_success_timestamp_seconds',
    'berth_quota_drifted_spaces',
    'berth_database_clock_skew_seconds',
  ]) {
    assert.ok(asked.has(name), name)
  }
})

/** /metrics of a site on which everything has happened once. */
async function everything(t: Parameters<typeof startServer>[0]): Promise<string> {
  const files = mkdtempSync(join(tmpdir(), 'berth-rules-'))
  t.after(async () => rmSync(files, { recursive: true, force: true }))
  const server = await startServer(t)
  const { meters } = server.appliance
  meters.watchProcess()
  const { certificateFile } = new CertificateAuthority(files).issue('own', 'DNS:own.test', 90)
  meters.add(certificateSource(() => readFileSync(certificateFile)))
  meters.directoryAnswered('sign-in', 'accepted', 0.1)
  await server.anonymous.get('/v1/entities')
  await server.db.query(sql`
    insert into job_runs (name, cause, ended_at) values ('sweep', 'schedule', now())`)
  await server.db.query(sql`update scrub set finished_at = now()`)
  await server.db.query(sql`
    insert into backups (id, name, directory, ended_at, outcome)
    values (${'a'.repeat(24)}, 'one', '/b', now(), 'complete')`)
  await server.db.query(sql`
    insert into alarms (name, message, details)
    values ('quota-drift', 'The quota ledger is wrong.', ${'{"drifted":[]}'})`)
  return await meters.print()
}
