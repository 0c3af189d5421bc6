import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const settings = { library: { redirect_from: 1, part_size: 65_536 } }
const server = await startServer({ after }, { settings })

test('no secret reaches the log or the audit, whatever happens', async () => {
  const alice = await server.account('alice')
  const mallory = await server.user('mallory')
  const { anonymous } = server
  const secrets = new Set([alice.credentials?.token ?? '', mallory.credentials?.token ?? ''])
  const sif = makeSif({ seed: 'canary', payload: 100_000 })
  const path = 'alice/demo/tool'

  const signIn = async (password: string) => {
    const authorization = `Basic ${Buffer.from(`alice:${password}`).toString('base64')}`
    secrets.add(authorization.slice('Basic '.length)).add(password)
    const headers = { authorization, 'x-api-key': 'canary-header', cookie: 'canary-cookie' }
    return await anonymous.send('POST', '/api/v1/tokens', { headers, body: '{"label":"x"}' })
  }
  secrets.add('canary-header').add('canary-cookie')
  const { token, id } = (await signIn('alice-password')).json.data
  secrets.add(token).add(token.split('.')[2])
  await signIn('canary-wrong-password')
  await anonymous.get('/v1/token-status', { authorization: 'Bearer canary-token-unknown' })
  secrets.add('canary-token-unknown')
  await anonymous.get('/v1/search?value=canary-query')
  secrets.add('canary-query')

  // Pushes and pulls, and their capability URLs in every state.
  const upload = await alice.openWhole(path, sif)
  const sealed = [upload]
  await alice.upload(`${upload}x`, sif)
  await alice.upload(upload, sif)
  await alice.upload(upload, sif)
  await alice.put(`/v2/imagefile/${path}:${libraryHash(sif)}/_complete`, {})
  await alice.tag(path, 'latest', sif)
  const parts = await alice.openParts(
    'alice/demo/parts',
    makeSif({ seed: 'parts', payload: 200_000 }),
  )
  sealed.push(await alice.partUrl(parts, 1))
  await alice.upload(sealed[1] ?? '', Buffer.alloc(3))
  await alice.abortParts(parts)
  const redirect = await anonymous.get(`/v1/imagefile/${path}:latest`)
  const download = String(redirect.headers['location'])
  sealed.push(download)
  await anonymous.get(new URL(download).pathname, { range: 'bytes=0-9' })
  await anonymous.get(`${new URL(download).pathname}x`).catch(() => {})
  await anonymous.get(new URL(download).pathname, { range: 'bytes=999999999-' }).catch(() => {})
  for (const prefix of ['//dl/', '/DL/']) {
    const odd = new URL(download).pathname.replace('/dl/', prefix)
    await anonymous.get(odd).catch(() => {})
    await anonymous.send('POST', odd, { body: 'x' }).catch(() => {})
  }
  await anonymous.send('GET', new URL(upload).pathname.replace('/ul/', '/UL/'))
  for (const url of sealed) {
    for (const piece of new URL(url).pathname.split('/').at(-1)?.split('.') ?? [])
      secrets.add(piece)
  }

  // Refusals and mistakes.
  await mallory.post('/v1/images', { hash: libraryHash(sif), container: 'alice/demo/x' })
  await mallory.delete(`/v1/images/${path}:latest`)
  await alice.send('POST', '/v1/entities', { body: '{"password":"canary-body"' })
  secrets.add('canary-body')
  await alice.delete(`/api/v1/tokens/${id}`)
  await alice.delete(`/v1/images/${path}:latest?arch=amd64`)

  const log = server.log()
  const audit = JSON.stringify(await server.db.query(sql`select * from audit`))
  assert.ok(log.length > 1000 && audit.length > 1000)
  for (const secret of secrets) {
    assert.ok(secret.length > 5, secret)
    assert.ok(!log.includes(secret), `in the log: ${lineWith(log, secret)}`)
    assert.ok(!audit.includes(secret), `in the audit: ${secret}`)
  }
  assert.ok(!/authorization/i.test(log))
})

test('each request is one line, with an ID that the client gets', async () => {
  const user = await server.user('liner')
  const before = requestLines().length
  const replies = [
    await user.get('/version'),
    await user.get('/nothing?secret=1'),
    await user.post('/v1/entities', { name: 'liner' }),
    await server.anonymous.post('/v1/entities', { name: 'liner' }),
    await user.send('POST', '/v1/entities', { body: '{' }),
  ]
  const lines = requestLines().slice(before)
  assert.equal(lines.length, replies.length)
  for (const [index, reply] of replies.entries()) {
    const line = lines[index]
    assert.equal(line?.['request.id'], reply.headers['x-request-id'])
    assert.match(String(line?.['request.id']), /^[0-9a-f]{16}$/)
    assert.equal(line?.['response.status'], reply.status)
    assert.equal(line?.['account.name'], index === 3 ? undefined : 'liner')
    assert.equal(line?.['request.address'], '127.0.0.1')
    assert.ok(!String(line?.['request.path']).includes('?'))
  }
  assert.equal(new Set(lines.map((line) => line['request.id'])).size, lines.length)
})

test('changes and failed sign-ins are in the audit, with who, what, from where and the result', async () => {
  const user = await server.account('audited')
  const admin = await server.user('auditor', { isAdmin: true })
  const sif = makeSif({ seed: 'audited' })
  await user.post('/v1/collections', { entity: 'audited', name: 'demo', private: true })
  await user.push('audited/demo/tool', 'v1', sif)
  await user.delete('/v1/images/audited/demo/tool:v1?arch=amd64')
  const spare = await server.signIn('audited')
  await admin.delete(`/api/v1/tokens/${spare.credentials?.tokenId}`)
  const authorization = `Basic ${Buffer.from('audited:wrong').toString('base64')}`
  const headers = { authorization, 'x-forwarded-for': '192.0.2.7' }
  await server.anonymous.send('POST', '/api/v1/tokens', { headers, body: '{}' })
  const odd = `Basic ${Buffer.from('audited:odd\0').toString('base64')}`
  await server.anonymous.send('POST', '/api/v1/tokens', { headers: { authorization: odd } })
  const nobody = `Basic ${Buffer.from('my-password:typed-as-name').toString('base64')}`
  await server.anonymous.send('POST', '/api/v1/tokens', { headers: { authorization: nobody } })

  const rows = await server.db.query<{ what: string }>(sql`
    select coalesce(account_name, '-') || ' ' || action || ' ' || outcome || ' ' || target
      || ' ' || address as "what"
    from audit where account_name in ('audited', 'auditor')
      or (action = 'account.sign-in' and target in ('audited', 'unknown account'))
    order by id`)
  const digest = libraryHash(sif).replace('.', ':')
  const { tokenId } = user.credentials ?? {}
  const wanted = [
    `audited token.issue done ${tokenId} test`,
    'audited entity.create done audited 127.0.0.1',
    'audited collection.create done audited/demo 127.0.0.1',
    'audited repository.create done audited/demo/tool 127.0.0.1',
    `audited image.push done audited/demo/tool@${digest} 127.0.0.1`,
    'audited tag.set done audited/demo/tool:v1 127.0.0.1',
    'audited image.delete done audited/demo/tool:v1 127.0.0.1',
    `auditor token.revoke done ${spare.credentials?.tokenId} 127.0.0.1`,
    '- account.sign-in refused audited 192.0.2.7',
    '- account.sign-in refused unknown account 127.0.0.1',
  ]
  const found = rows.map((row) => row.what)
  const failures = found.filter((line) => line.includes('account.sign-in refused'))
  assert.equal(failures.length, 3, failures.join('\n'))
  for (const line of wanted) assert.ok(found.includes(line), `${line}\nnot in\n${found.join('\n')}`)
})

function requestLines(): Record<string, unknown>[] {
  const lines = server.log().trim().split('\n')
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['msg'] === 'request')
}

function lineWith(log: string, secret: string): string {
  return log.split('\n').find((line) => line.includes(secret)) ?? ''
}
