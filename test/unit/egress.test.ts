import assert from 'node:assert/strict'
import test from 'node:test'

import { parseDestination } from '../../server/host-list.ts'
import { isReachable, isSiteAddress, networkList } from '../../server/runner/egress/addresses.ts'
import { addressFor, NotAllowed } from '../../server/runner/egress/allow-list.ts'

const nothing = networkList([])
const nowhere = { networks: nothing, hosts: [] }

test('addresses that are no place in the public network', () => {
  const addresses = [
    '127.0.0.1 127.255.255.254 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1',
    '169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255 198.18.0.1',
    ':: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::',
    'fe80::1 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001::1 fe80::1%eth0',
    'localhost 127.1 0x7f.1',
  ].flatMap((words) => words.split(' '))
  for (const address of ['', ...addresses]) {
    assert.equal(isReachable(address, nothing), false, address)
  }
})

test('addresses that are', () => {
  for (const address of ['8.8.8.8', '172.32.0.1', '192.167.1.1', '100.63.0.1', '2606:4700::1']) {
    assert.equal(isReachable(address, nothing), true, address)
  }
})

test('a site opens its own networks, as narrow as it likes', () => {
  const mirror = networkList(['10.1.2.3', 'fd00:1::/32'])
  assert.equal(isReachable('10.1.2.3', mirror), true)
  assert.equal(isReachable('fd00:1::5', mirror), true)
  assert.equal(isReachable('10.1.2.4', mirror), false)
  assert.throws(() => networkList(['10.1.2.0/33']))
  assert.throws(() => networkList(['mirror']))
})

test('hosts have one spelling', () => {
  for (const [authority, host, port] of [
    ['example.org:443', 'example.org', 443],
    ['EXAMPLE.org.:443', 'example.org', 443],
    ['example.org', 'example.org', 8443],
    ['example.org:80', 'example.org', 80],
    ['0x7f.1:1', '127.0.0.1', 1],
    ['2130706433:1', '127.0.0.1', 1],
    ['017700000001:1', '127.0.0.1', 1],
    ['[::FFFF:127.0.0.1]:1', '::ffff:7f00:1', 1],
  ] as const) {
    assert.deepEqual(parseDestination(authority, 8443), { host, port }, authority)
  }
  for (const authority of [
    '',
    ':1',
    'a b:1',
    'user@example.org:1',
    'example.org/path',
    'x:99999',
  ]) {
    assert.equal(parseDestination(authority, 443), undefined, authority)
  }
})

test('a host has to be on all lists', async () => {
  const lists = [
    ['*.example.org', 'mirror.test:8080', '8.8.8.8'],
    ['*', 'mirror.test:8080', '8.8.8.8'],
  ]
  const find = async (host: string, port: number): Promise<string> =>
    await addressFor({ host, port }, lists, nowhere, async () => ['93.184.216.34'])
  for (const [host, port] of [
    ['a.example.org', 443],
    ['a.b.example.org', 80],
    ['mirror.test', 8080],
  ] as const) {
    assert.equal(await find(host, port), '93.184.216.34', host)
  }
  assert.equal(await find('8.8.8.8', 443), '8.8.8.8')
  for (const [host, port] of [
    ['example.org', 443],
    ['badexample.org', 443],
    ['a.example.org', 22],
    ['mirror.test', 443],
    ['8.8.4.4', 443],
  ] as const) {
    await assert.rejects(find(host, port), NotAllowed, `${host}:${port}`)
  }
})

test('a name is resolved once, and what came of it is what is connected to', async () => {
  // A name server that rebinds: public first, loopback from then on.
  const answers = [['93.184.216.34'], ['127.0.0.1']]
  let asked = 0
  const rebinding = async (): Promise<string[]> => answers[asked++] ?? ['127.0.0.1']
  const find = async (): Promise<string> =>
    await addressFor({ host: 'rebind.test', port: 443 }, [['*']], nowhere, rebinding)
  assert.equal(await find(), '93.184.216.34')
  assert.equal(asked, 1)
  await assert.rejects(find(), /rebind\.test:443 has no public address/)
})

test('of several addresses only a public one is taken', async () => {
  const resolve = async (): Promise<string[]> => ['127.0.0.1', '::1', '2606:4700::1']
  assert.equal(
    await addressFor({ host: 'x.test', port: 443 }, [['*']], nowhere, resolve),
    '2606:4700::1',
  )
})

test("a host of the site's own may have a private address, but none of the builder", async () => {
  const places = { networks: nothing, hosts: ['mirror.example.org', '*.inside.example:8080'] }
  const find = async (host: string, port: number, address: string): Promise<string> =>
    await addressFor({ host, port }, [['*', '*:8080']], places, async () => [address])
  assert.equal(await find('mirror.example.org', 80, '10.1.2.3'), '10.1.2.3')
  assert.equal(await find('a.inside.example', 8080, 'fd00:1::5'), 'fd00:1::5')
  for (const [host, port, address] of [
    ['other.example.org', 80, '10.1.2.3'],
    ['mirror.example.org', 8080, '10.1.2.3'],
    ['mirror.example.org', 80, '127.0.0.1'],
    ['mirror.example.org', 80, '::1'],
    ['mirror.example.org', 80, '::ffff:10.1.2.3'],
    ['mirror.example.org', 80, '169.254.169.254'],
    ['mirror.example.org', 80, 'fd00:ec2::254'],
    ['mirror.example.org', 80, 'fe80::1%eth0'],
  ] as const) {
    await assert.rejects(find(host, port, address), /no public address/, `${host} ${address}`)
  }
  assert.equal(isSiteAddress('mirror'), false)
})
