/**
 * The way to the directory: TLS of every kind and what is wrong with it, servers that fail, hang or
 * lie, and the password, which must never be on the wire in clear.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import test, { after } from 'node:test'
import { createServer } from 'node:tls'

import type { DirectoryAnswer } from '../../server/accounts/directory.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import {
  blackHole,
  cutInHandshake,
  slow,
  startTlsInjected,
  startTlsStalled,
  startTlsStripped,
} from '../support/ldap-faults.ts'
import { passwordOf, personDn, servicePassword } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import type { Fault, TcpProxy } from '../support/tcp-proxy.ts'
import { inShort, isUnavailable, open, signIn, siteTable } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = skipSlapd
const running = skip === false ? await startSlapd({ after }) : undefined
const slapd = running as Slapd

const timeoutMs = 1500
const short = { timeout_seconds: timeoutMs / 1000 }
/** What scheduling on a busy machine may add. */
const toleranceMs = 1000

/** Somebody whom wrong passwords do not lock. */
const mistaken = { name: 'patient', password: 'wrong' }

const secrets = [passwordOf('alice'), servicePassword]

function assertNothingInClear(proxy: TcpProxy): void {
  const sent = proxy.fromClients()
  for (const secret of secrets) assert.equal(sent.includes(secret), false, 'a password in clear')
}

/** Signs somebody in within the time that the settings give, and no longer. */
async function timed(
  table: Table,
  { name = 'alice', password = passwordOf(name) } = {},
): Promise<DirectoryAnswer> {
  const startedAt = performance.now()
  try {
    return await signIn(open({ ...table, ...short }), name, password)
  } finally {
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs < timeoutMs + toleranceMs, `took ${tookMs} ms`)
  }
}

interface Way {
  readonly kind: string
  readonly port: () => number
  readonly table: (port: number) => Table
}

const ways: readonly Way[] = [
  {
    kind: 'ldaps',
    port: () => slapd.tlsPort,
    table: (port) => siteTable(slapd, { servers: [`ldaps://127.0.0.1:${port}`] }),
  },
  {
    kind: 'StartTLS',
    port: () => slapd.port,
    table: (port) => siteTable(slapd, { servers: [`ldap://127.0.0.1:${port}`], start_tls: true }),
  },
]

for (const { kind, port, table } of ways) {
  test(`${kind}: right authority and name, and nothing in clear`, { skip }, async (t) => {
    const proxy = await startProxy(t, port())
    assert.equal(inShort(await timed(table(proxy.port))), 'accepted alice')
    assert.equal(inShort(await timed(table(proxy.port), mistaken)), 'refused password')
    // One for the search and one for the password, for each of the two.
    assert.equal(proxy.connections(), 4)
    assertNothingInClear(proxy)
  })

  test(`${kind}: the address is the name where none is configured`, { skip }, async () => {
    const answer = await timed({ ...table(port()), server_name: '127.0.0.1' })
    assert.equal(inShort(answer), 'accepted alice')
    const { server_name: _name, ...unnamed } = table(port())
    assert.equal(inShort(await timed(unnamed)), 'accepted alice')
  })

  const untrusted: readonly (readonly [string, () => Table, RegExp])[] = [
    [
      'another authority',
      () => ({ ca_file: new CertificateAuthority(slapd.directory, 'rogue').caFile }),
      /unable to get local issuer|unable to verify|self.signed/i,
    ],
    ["Node's authorities only", () => ({ ca_file: undefined }), /unable to|self.signed/i],
    ['another name', () => ({ server_name: 'evil.test' }), /does not match certificate/],
    ['localhost', () => ({ server_name: 'localhost' }), /does not match certificate/],
    ['another address', () => ({ server_name: '127.0.0.2' }), /does not match certificate/],
  ]
  for (const [what, more, why] of untrusted) {
    test(`${kind}: ${what} is refused before anything is said`, { skip }, async (t) => {
      const proxy = await startProxy(t, port())
      const wrong = { ...table(proxy.port), ...more() }
      await assert.rejects(timed(wrong), (error: Error) => {
        assert.match((error.cause as Error).message, why)
        return isUnavailable(/The directory does not answer/)(error)
      })
      assert.equal(proxy.connections(), 1)
      assertNothingInClear(proxy)
    })
  }

  const faults: readonly (readonly [string, Fault])[] = [
    ['a server that never answers', blackHole],
    ['a connection that is cut in the handshake', cutInHandshake],
    ['answers that come too late', slow(timeoutMs)],
  ]
  for (const [what, fault] of faults) {
    test(`${kind}: ${what}`, { skip }, async (t) => {
      const proxy = await startProxy(t, port(), fault)
      await assert.rejects(timed(table(proxy.port)), isUnavailable(/does not answer/))
      assertNothingInClear(proxy)
    })
  }

  test(`${kind}: answers that come late, but in time`, { skip }, async (t) => {
    const proxy = await startProxy(t, port(), slow(20))
    assert.equal(inShort(await timed(table(proxy.port))), 'accepted alice')
  })

  test(`${kind}: a server that stops after the search`, { skip }, async (t) => {
    const proxy = await startProxy(t, port())
    const directory = open({ ...table(proxy.port), ...short })
    const startedAt = performance.now()
    const failing = directory.signIn('alice', passwordOf('alice'), async () => {
      proxy.setFault(blackHole)
    })
    await assert.rejects(failing, isUnavailable(/does not answer/))
    assert.ok(performance.now() - startedAt < timeoutMs + toleranceMs)
    assertNothingInClear(proxy)
  })
}

const startTls = ways.find(({ kind }) => kind === 'StartTLS') as Way

for (const [what, fault] of [
  ['stripped', startTlsStripped],
  ['stalled', startTlsStalled],
] as const) {
  test(`StartTLS that is ${what} carries no password`, { skip }, async (t) => {
    const proxy = await startProxy(t, slapd.port, fault)
    await assert.rejects(timed(startTls.table(proxy.port)), isUnavailable(/does not answer/))
    assertNothingInClear(proxy)
    // Not even the name of the service account.
    assert.equal(proxy.fromClients().includes('cn=berth'), false)
  })
}

test('an answer that was put in before the handshake is not believed', { skip }, async (t) => {
  // Identifiers of messages begin anew on each connection, so whoever is in between knows them.
  for (const id of [2, 3, 4]) {
    const proxy = await startProxy(t, slapd.port, startTlsInjected(id))
    const table = {
      ...startTls.table(proxy.port),
      direct_bind: personDn('{user}'),
      bind_dn: undefined,
      bind_password_file: undefined,
    }
    const answer = await timed(table, mistaken).then(inShort, (error: Error) => error.message)
    assert.match(answer, /^refused password$|does not answer/)
  }
})

test('a certificate that is over is refused', { skip }, async (t) => {
  const over = slapd.authority.issue('over', 'DNS:ldap.site.test', -1)
  const files = { key: readFileSync(over.keyFile), cert: readFileSync(over.certificateFile) }
  let received = ''
  const server = createServer(files, (socket) => {
    socket.on('data', (bytes) => (received += bytes.toString('latin1')))
    socket.on('error', () => {})
    socket.pipe(connect(slapd.port, '127.0.0.1')).pipe(socket)
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const table = siteTable(slapd, { servers: [`ldaps://127.0.0.1:${port}`] })
  await assert.rejects(timed(table), (error: Error) => {
    assert.match((error.cause as Error).message, /certificate has expired/)
    return isUnavailable()(error)
  })
  assert.equal(received, '')
})

test('a server that speaks something else', { skip }, async (t) => {
  const proxy = await startProxy(t, slapd.port, {
    fromClient: (_bytes, wire) => wire.toClient(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')),
  })
  for (const { table } of ways) {
    await assert.rejects(timed(table(proxy.port)), isUnavailable(/does not answer/))
  }
  assertNothingInClear(proxy)
})

test(
  'the next server is asked when one cannot be reached, and the first again later',
  { skip },
  async (t) => {
    const dead = await freePort()
    for (const { port, table, kind } of ways) {
      const good = await startProxy(t, port())
      const scheme = kind === 'ldaps' ? 'ldaps' : 'ldap'
      const servers = [`${scheme}://127.0.0.1:${dead}`, `${scheme}://127.0.0.1:${good.port}`]
      const answer = await timed({ ...table(0), servers })
      assert.equal(inShort(answer), 'accepted alice', kind)
    }
  },
)

test(
  'a server that hangs costs one sign-in a part of its time, and the next ones nothing',
  { skip },
  async (t) => {
    const hanging = await startProxy(t, slapd.tlsPort, blackHole)
    const good = await startProxy(t, slapd.tlsPort)
    const urls = [hanging, good].map(({ port }) => `ldaps://127.0.0.1:${port}`)
    const directory = open(siteTable(slapd, { servers: urls, ...short }))
    for (let person = 0; person < 3; person += 1) {
      const answer = await signIn(directory, 'alice', passwordOf('alice'))
      assert.equal(inShort(answer), 'accepted alice')
    }
    assert.equal(hanging.connections(), 1)
    assert.equal(good.connections(), 6)
  },
)

test(
  'with all servers down the answer comes in time, and again when they are back',
  { skip },
  async (t) => {
    const proxies = [
      await startProxy(t, slapd.tlsPort, blackHole),
      await startProxy(t, slapd.tlsPort, blackHole),
      await startProxy(t, slapd.tlsPort, blackHole),
    ]
    const servers = proxies.map(({ port }) => `ldaps://127.0.0.1:${port}`)
    const directory = open(siteTable(slapd, { servers, ...short }))
    const startedAt = performance.now()
    await assert.rejects(signIn(directory, 'alice', passwordOf('alice')), isUnavailable())
    assert.ok(performance.now() - startedAt < timeoutMs + toleranceMs)
    assert.deepEqual(
      proxies.map((proxy) => proxy.connections()),
      [1, 1, 1],
    )
    for (const proxy of proxies) proxy.setFault({})
    assert.equal(inShort(await signIn(directory, 'alice', passwordOf('alice'))), 'accepted alice')
  },
)

test('many sign-ins at once are told apart', { skip }, async () => {
  const directory = open(siteTable(slapd))
  const tries = Array.from({ length: 20 }, (_, index) => ({
    name: index % 2 === 0 ? 'alice' : 'patient',
    isWrong: index % 4 === 1,
  }))
  const answers = await Promise.all(
    tries.map(async ({ name, isWrong }) => {
      return inShort(await signIn(directory, name, isWrong ? 'wrong' : passwordOf(name)))
    }),
  )
  const wanted = tries.map(({ name, isWrong }) =>
    isWrong ? 'refused password' : `accepted ${name}`,
  )
  assert.deepEqual(answers, wanted)
})

test('a server that is stopped for a while', { skip }, async (t) => {
  const own = await startSlapd(t)
  own.child.kill('SIGSTOP')
  const startedAt = performance.now()
  const failing = signIn(open(siteTable(own, short)), 'alice', passwordOf('alice'))
  await assert.rejects(failing, isUnavailable(/does not answer/))
  assert.ok(performance.now() - startedAt < timeoutMs + toleranceMs)
  own.child.kill('SIGCONT')
  const answer = await signIn(open(siteTable(own)), 'alice', passwordOf('alice'))
  assert.equal(inShort(answer), 'accepted alice')
})
