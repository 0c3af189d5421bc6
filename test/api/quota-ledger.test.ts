import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { libraryHash } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import { Random } from '../support/random.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after }, { settings: { quota: { default: 400_000 } } })

const sifs = Array.from({ length: 6 }, (_, number) => makeSif({ seed: `ledger${number}` }))
const containers = ['one/a', 'one/b', 'two/a']
const tags = ['v1', 'v2', 'latest']

type Operation = (user: Client, random: Random) => Promise<Reply>

const operations: readonly Operation[] = [
  async (user, random) => await push(user, place(user, random), random.of(sifs)),
  async (user, random) => {
    const path = place(user, random)
    const sif = random.of(sifs)
    const done = await push(user, path, sif)
    if (done.status !== 200) return done
    const image = `${path}:${libraryHash(sif)}`
    return await user.post(`/v2/tags/${path}`, {
      Arch: 'amd64',
      Tag: random.of(tags),
      ImageID: image,
    })
  },
  async (user, random) => {
    const sif = random.of(sifs)
    const id = `${place(user, random)}:${libraryHash(sif)}`
    return await user.delete(`/v1/images/${id}`)
  },
  async (user, random) =>
    await user.delete(`/v1/images/${place(user, random)}:${random.of(tags)}?arch=amd64`),
  async (user, random) => {
    const sif = random.of(sifs)
    const opened = await open(user, random, sif)
    if (opened.status !== 200) return opened
    return await user.upload(opened.json.data.uploadURL, Buffer.alloc(sif.length + 1))
  },
  async (user, random) => {
    const sif = random.of(sifs)
    const path = place(user, random)
    const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: path })
    if (announced.status !== 200) return announced
    const image = announced.json.data.id as string
    const filesize = sif.length
    const opened = await user.post(`/v2/imagefile/${image}/_multipart`, { filesize })
    if (opened.status !== 200) return opened
    const { uploadID } = opened.json.data
    return await user.put(`/v2/imagefile/${image}/_multipart_abort`, { uploadID })
  },
]

const expected = new Set([200, 400, 403, 404, 409])

test('the ledger is exact after several hundred operations, eight at a time', async () => {
  const users = await Promise.all(['anna', 'bert'].map(async (name) => await server.user(name)))
  const unexpected: string[] = []
  const workers = Array.from({ length: 8 }, async (_, worker) => {
    const random = new Random(worker + 1)
    for (let turn = 0; turn < 50; turn += 1) {
      const reply = await random.of(operations)(random.of(users), random)
      if (!expected.has(reply.status)) unexpected.push(reply.body.toString())
    }
  })
  await Promise.all(workers)
  await closeUploads()
  await assertLedger(server.db)
  assert.deepEqual(unexpected, [])
})

test('deleting everything gives every byte back', async () => {
  const user = await server.user('clean')
  for (const sif of sifs.slice(0, 5)) await user.push('clean/demo/tool', undefined, sif)
  await Promise.all(
    sifs.map(async (sif) => await user.delete(`/v1/images/clean/demo/tool:${libraryHash(sif)}`)),
  )
  const entity = await user.get('/v1/entities/clean')
  assert.equal(entity.json.data.size, 0)
})

function place(user: Client, random: Random): string {
  return `${user.name}/${random.of(containers)}`
}

/** Each step may be refused, and the refusal is the result. */
async function push(user: Client, path: string, sif: Buffer): Promise<Reply> {
  const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: path })
  if (announced.status !== 200) return announced
  const id = announced.json.data.id as string
  const opened = await user.post(`/v2/imagefile/${id}`, { filesize: sif.length })
  if (opened.status !== 200) return opened
  const sent = await user.upload(opened.json.data.uploadURL, sif)
  return sent.status === 200 ? await user.put(`/v2/imagefile/${id}/_complete`, {}) : sent
}

async function open(user: Client, random: Random, sif: Buffer): Promise<Reply> {
  const path = place(user, random)
  const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: path })
  if (announced.status !== 200) return announced
  const filesize = sif.length
  return await user.post(`/v2/imagefile/${announced.json.data.id}`, { filesize })
}

/** What was opened and never sent is ended, as it is after a restart. */
async function closeUploads(): Promise<void> {
  await server.appliance.uploads.recover()
}
