/** /metrics: what it tells of a day's use, what it never tells, and that it never waits for long. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { raiseAlarm } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { makeDataDirectory, openEmbeddedPostgres } from '../../server/embedded-postgres.ts'
import { createLog } from '../../server/log.ts'
import { certificateSource } from '../../server/metrics/host.ts'
import { serveMetrics } from '../../server/metrics/serve.ts'
import { CachedSource } from '../../server/metrics/source.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { eventually, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { labelValues, read, valueOf } from './metric-text.ts'

const server = await startServer({ after })

/** The figures as they are now: those of rows are kept for a while, so each test has its own server. */
async function scrape({ appliance }: TestServer): Promise<string> {
  return await appliance.meters.print()
}

test('a day of people is counted, by what they did and never by who they are', async (t) => {
  const day = await startServer(t, { leavesUploads: true })
  const names = ['wilhelmina', 'ferdinand', 'kunigunde']
  const [first] = await Promise.all(names.map(async (name) => await day.account(name)))
  assert.ok(first)
  for (const name of names) {
    const user = await day.signIn(name)
    const sif = makeSif({ seed: name, payload: 20_000 })
    const pushed = await user.push(`${name}/secretproject/${name}-tool`, `release-of-${name}`, sif)
    assert.equal(pushed.status, 200)
    const path = `${name}/secretproject/${name}-tool:release-of-${name}`
    assert.equal((await user.get(`/v1/imagefile/${path}?arch=amd64`)).status, 200)
    await user.get(`/v1/containers/${name}/secretproject/${name}-tool`)
    await user.get(`/v1/search?value=${name}`)
    await user.get(`/library/${name}/secretproject/${name}-tool`)
    await user.get(`/v2/${name}/secretproject/${name}-tool/tags/list`)
    await user.get(`/v2/${name}/secretproject/${name}-tool/manifests/release-of-${name}`)
    await user.get(`/nothing/of/${name}`)
    await user.get(`/%2e%2e/${name}/..%2f${name}`)
    await user.send('BREW', `/v1/entities/${name}`)
    await user.send('DELETE', `/v1/images/${path}?arch=amd64`)
    await signIn(day, name, 'wrong-password')
    await signIn(day, name, `${name}-password`)
    await raiseAlarm(day.db, { name: `builder ${name}-host`, message: `${name} is unwell` })
  }
  const text = await scrape(day)
  for (const name of [...names, 'secretproject', 'release-of', first.credentials?.tokenId ?? '?']) {
    assert.equal(text.includes(name), false, name)
  }
  assert.doesNotMatch(text, /\beyJ[\w-]{10}|\b[0-9a-f]{24,}\b|127\.0\.0\.1/)
  assert.equal(valueOf(text, 'berth_sign_ins_total', { outcome: 'accepted' }), 3)
  assert.equal(valueOf(text, 'berth_sign_ins_total', { outcome: 'refused' }), 3)
  assert.equal(valueOf(text, 'berth_accounts'), 3)
  assert.equal(valueOf(text, 'berth_alarms', { alarm: 'builder' }), 3)
  const pulls = { route: '/v1/imagefile/*image', method: 'GET', status: '2xx' }
  assert.equal(valueOf(text, 'berth_http_requests_total', pulls), 3)
  const unknown = { route: 'none', method: 'GET', status: '4xx' }
  assert.ok((valueOf(text, 'berth_http_requests_total', unknown) ?? 0) >= 3)
  const tags = { route: '/v2/:name/tags/list', method: 'GET', status: '2xx' }
  assert.equal(valueOf(text, 'berth_http_requests_total', tags), 3)
})

test('the values of labels are a closed set, however many addresses are asked for', async (t) => {
  const busy = await startServer(t)
  const user = await busy.user('busybody')
  const ask = async (round: string): Promise<string> => {
    for (let number = 0; number < 40; number += 1) {
      const word = `${round}${number}`
      await user.get(`/v1/entities/${word}`)
      await user.get(`/v1/collections/${word}/${word}`)
      await user.get(`/v2/${word}/${word}/${word}/manifests/${word}`)
      await user.get(`/pks/lookup?op=get&search=${word}`)
      await user.get(`/dl/${word}`).catch(() => undefined)
      await user.get(`/${word}/${word}`)
      await user.send(`VERB${number}`.replaceAll(/\d/g, 'X'), `/${word}`)
    }
    return await scrape(busy)
  }
  const once = labelValues(await ask('first'))
  const twice = labelValues(await ask('second'))
  assert.deepEqual(twice, once)
  const all = [...twice.values()].reduce((sum, values) => sum + values.size, 0)
  assert.ok(all < 200, `${all} values`)
  assert.ok(twice.get('route')?.has('/v1/entities/{:entity}'))
})

async function signIn({ url }: TestServer, name: string, password: string): Promise<void> {
  const basic = Buffer.from(`${name}:${password}`).toString('base64')
  const headers = { authorization: `Basic ${basic}` }
  await new Client(url, undefined).send('POST', '/api/v1/tokens', { headers, body: '{}' })
}

test('uploads, tokens and builds are counted as their rows are', async (t) => {
  const one = await startServer(t, { leavesUploads: true })
  const user = await one.user('counted')
  await user.openWhole('counted/tools/late', makeSif({ seed: 'late', payload: 20_000 }))
  await one.db.query(sql`update uploads set created_at = now() - interval '3 hours'`)
  await one.db.query(sql`
    insert into builds (id, account_id, state, arch, definition, target_path, target_tag, ephemeral,
      submitted_at)
    select ${'b'.repeat(24)}, id, 'queued', 'amd64', '', 'counted/a/b', 'latest', false,
      now() - interval '40 minutes'
    from accounts`)
  const text = await scrape(one)
  assert.equal(valueOf(text, 'berth_uploads_open'), 1)
  assert.ok(Math.abs((valueOf(text, 'berth_uploads_oldest_seconds') ?? 0) - 10_800) < 120)
  assert.equal(valueOf(text, 'berth_tokens_live'), 1)
  assert.equal(valueOf(text, 'berth_builds', { state: 'queued' }), 1)
  assert.equal(valueOf(text, 'berth_builds', { state: 'running' }), 0)
  assert.ok(Math.abs((valueOf(text, 'berth_build_queue_oldest_seconds') ?? 0) - 2400) < 120)
  assert.ok((valueOf(text, 'berth_disk_free_ratio') ?? 2) <= 1)
  assert.ok(Math.abs(valueOf(text, 'berth_database_clock_skew_seconds') ?? 9) < 2)
  assert.equal(valueOf(text, 'berth_audit_failures_total'), 0)
  assert.equal(valueOf(text, 'berth_source_up', { source: 'tokens' }), 1)
})

test('a ledger that the recount refutes is told, by how much', async (t) => {
  const wrong = await startServer(t, { leavesUploads: true })
  const user = await wrong.user('ledger')
  assert.equal((await user.push('ledger/a/b', 'latest', makeSif({ seed: 'ledger' }))).status, 200)
  await wrong.db.query(sql`update entities set used_bytes = used_bytes + 1000`)
  await wrong.appliance.recount()
  const text = await scrape(wrong)
  assert.equal(valueOf(text, 'berth_quota_drifted_spaces'), 1)
  assert.equal(valueOf(text, 'berth_quota_drift_bytes'), 1000)
  await wrong.db.query(sql`update entities set used_bytes = used_bytes - 1000`)
})

test('a portal that is down is counted, as what it is', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/login`
  const portal = { provider: 'portal', url, allow_plain: true, format: 'json', success_field: 'ok' }
  const lonely = await startServer(t, { settings: { directory: portal } })
  await signIn(lonely, 'somebody', 'a-password')
  const text = await scrape(lonely)
  const asked = { question: 'sign-in', outcome: 'unavailable' }
  assert.equal(valueOf(text, 'berth_directory_duration_seconds_count', asked), 1)
  assert.equal(valueOf(text, 'berth_sign_ins_total', { outcome: 'unavailable' }), 1)
  assert.equal(valueOf(text, 'berth_sign_ins_total', { outcome: 'refused' }), 0)
})

test('what cannot be asked is left out, not guessed, and the rest is told', async (t) => {
  const broken = await startServer(t)
  await broken.db.query(sql`alter table uploads rename to uploads_aside`)
  try {
    const text = await scrape(broken)
    assert.equal(valueOf(text, 'berth_uploads_open'), undefined)
    assert.equal(valueOf(text, 'berth_source_up', { source: 'uploads' }), 0)
    assert.equal(valueOf(text, 'berth_tokens_live'), 0)
  } finally {
    await broken.db.query(sql`alter table uploads_aside rename to uploads`)
  }
})

test('an audit row that cannot be written is counted', async (t) => {
  const mute = await startServer(t)
  const before = valueOf(await scrape(mute), 'berth_audit_failures_total') ?? 0
  await mute.account('unheard')
  await mute.db.query(sql`alter table audit rename to audit_aside`)
  try {
    await signIn(mute, 'unheard', 'unheard-password')
  } finally {
    await mute.db.query(sql`alter table audit_aside rename to audit`)
  }
  const after = valueOf(await scrape(mute), 'berth_audit_failures_total') ?? 0
  assert.ok(after > before)
})

test('a source that hangs makes nobody wait, and is asked once', async () => {
  let asked = 0
  const release: (() => void)[] = []
  const source = new CachedSource(
    {
      name: 'hangs',
      metrics: [],
      read: async () => {
        asked += 1
        await new Promise<void>((resolve) => release.push(resolve))
        return [{ metric: 'late', value: 1 }]
      },
    },
    { freshMs: 60_000, patienceMs: 50 },
  )
  const began = performance.now()
  const looks = await Promise.all(Array.from({ length: 5 }, async () => await source.look()))
  assert.ok(performance.now() - began < 5_000)
  assert.deepEqual(looks, Array.from({ length: 5 }))
  assert.equal(await source.look(), undefined)
  assert.equal(asked, 1)
  for (const done of release) done()
  await eventually(async () => (await source.look()) !== undefined, 'the answer is kept')
  assert.equal(asked, 1)
})

test('a database that hangs makes nobody wait, and the disk is told all the same', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-hung-'))
  makeDataDirectory(join(directory, 'data'))
  const root = join(directory, 'data/postgres')
  const postgres = await openEmbeddedPostgres(root, createLog('silent'))
  const endings: (() => Promise<void>)[] = []
  t.after(async () => {
    for (const end of endings) await end()
    await postgres.leave()
    rmSync(directory, { recursive: true, force: true })
  })
  const socket = encodeURIComponent(postgres.address.socketDir ?? '')
  const url = `postgres://berth@localhost/berth?host=${socket}`
  const lifetime = { after: (work: () => Promise<void>) => void endings.unshift(work) }
  const hung = await startServer(lifetime, { settings: { database: { url } } })
  const processes = familyOf(
    Number(readFileSync(join(root, 'cluster/postmaster.pid'), 'utf8').split('\n')[0]),
  )
  assert.ok(processes.length > 3)
  const began = performance.now()
  for (const pid of processes) process.kill(pid, 'SIGSTOP')
  try {
    const text = await scrape(hung)
    const took = performance.now() - began
    // 2 seconds, and what a busy machine adds.
    assert.ok(took < 4_000, `${Math.round(took)} ms`)
    assert.equal(valueOf(text, 'berth_source_up', { source: 'tokens' }), 0)
    assert.equal(valueOf(text, 'berth_tokens_live'), undefined)
    assert.ok((valueOf(text, 'berth_disk_free_bytes') ?? 0) > 0)
    await eventually(
      async () => valueOf(await scrape(hung), 'berth_database_hangs') === 1,
      'the hang is told',
      30_000,
    )
  } finally {
    for (const pid of processes) process.kill(pid, 'SIGCONT')
  }
  await eventually(
    async () => valueOf(await scrape(hung), 'berth_tokens_live') === 0,
    'it is asked again',
    30_000,
  )
})

/** A process and its children. */
function familyOf(parent: number): number[] {
  const children = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(`/proc/${name}/status`, 'utf8').includes(`\nPPid:\t${parent}\n`)
    } catch {
      return false // it has ended meanwhile
    }
  })
  return [parent, ...children.map(Number)]
}

test('several who look within 15 seconds cost one question', async (t) => {
  const calm = await startServer(t)
  let questions = 0
  const { database } = calm.appliance
  const query = database.query.bind(database)
  t.mock.method(database, 'query', async (statement: Parameters<typeof query>[0]) => {
    questions += 1
    return await query(statement)
  })
  await scrape(calm)
  const once = questions
  assert.ok(once > 5)
  for (let number = 0; number < 5; number += 1) await scrape(calm)
  assert.equal(questions, once)
})

test('the listener has /metrics and nothing else', async (t) => {
  const { meters, log } = server.appliance
  const listener = await serveMetrics(meters, { host: '127.0.0.1', port: 0 }, log)
  t.after(async () => await listener.close())
  const client = new Client(`http://127.0.0.1:${listener.port}`, undefined)
  const reply = await client.get('/metrics')
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^text\/plain; version=0\.0\.4/)
  const text = reply.body.toString()
  assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m)
  assert.match(text, /^berth_info\{version="[\d.]+",node="v\d+/m)
  for (const line of text.split('\n')) {
    assert.ok(line === '' || line.startsWith('#') || read(line) !== undefined, line)
  }
  assert.equal((await client.get('/metrics?name=x')).status, 200)
  assert.equal((await client.get('/healthz')).status, 404)
  assert.equal((await client.send('POST', '/metrics')).status, 405)
  // Not on the listener that people reach.
  assert.equal((await server.anonymous.get('/metrics')).status, 404)
})

test('a unix socket is for its owner and its group', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-metrics-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const socketPath = join(directory, 'metrics.sock')
  const { meters, log } = server.appliance
  const listener = await serveMetrics(meters, { path: socketPath }, log)
  assert.equal(statSync(socketPath).mode & 0o777, 0o660)
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const req = request({ socketPath, path: '/metrics' }, (res) => {
      res.resume()
      resolve(res.statusCode)
    })
    req.on('error', reject)
    req.end()
  })
  assert.equal(status, 200)
  await listener.close()
})

test('a certificate of its own is told by the moment of its end', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-metrics-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const authority = new CertificateAuthority(directory)
  const { certificateFile } = authority.issue('own', 'DNS:own.test', 10)
  const [sample] = await certificateSource(() => readFileSync(certificateFile)).read()
  const days = ((sample?.value ?? 0) - Date.now() / 1000) / 86_400
  assert.ok(days > 9.9 && days < 10.1, `${days} days`)
})
