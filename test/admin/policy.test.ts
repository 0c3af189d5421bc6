import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { signInAs } from '../support/process.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import { makeHost } from './host.ts'

const host = await makeHost({ after })
const server = await host.start()
const admin = await signInAs(server.url, 'admin', server.password ?? '')
await admin.push('admin/demo/tool', 'v1', makeSif({ seed: 'unsigned' }))

const berthctl = async (...args: string[]) =>
  await run('berthctl', ['policy', ...args], { env: host.env })

test('a space is asked for verified images, and what it holds is listed', async () => {
  const none = await berthctl('check')
  assertDone(none)
  assert.equal(none.stdout, 'All images of the spaces that ask for verified images are verified.\n')

  const set = await berthctl('set', 'admin', 'verified')
  assertDone(set)
  assert.equal(
    set.stdout,
    'admin takes only images that the keystore verifies from the next push on.\n' +
      '1 image that it holds would not be taken now: berthctl policy check admin.\n',
  )
  for (const args of [['check'], ['check', 'admin']]) {
    const checked = await berthctl(...args)
    assertDone(checked)
    assert.match(
      checked.stdout,
      /^Image +Pushed by +Signatures\nadmin\/demo\/tool:v1 +admin +unsigned\n/,
    )
    assert.match(checked.stdout, /\n1 image of .*, not verified\.\n$/)
  }
  const json = JSON.parse((await berthctl('check', '--json')).stdout)
  assert.deepEqual(
    json.map((one: Record<string, unknown>) => [one['image'], one['tags'], one['state']]),
    [['admin/demo/tool', ['v1'], 'unsigned']],
  )
  // The running server goes by it.
  const refused = await admin.push('admin/demo/tool', 'v2', makeSif({ seed: 'unsigned too' }))
  assert.equal(refused.status, 403)
})

test('the rules are listed, and a space follows the site again', async () => {
  assertDone(await berthctl('set', 'admin', 'verified'))
  const listed = await berthctl('list')
  assertDone(listed)
  assert.equal(
    listed.stdout,
    'The site takes all images.\n\nSpace Images   Rule of\nadmin verified own\n',
  )
  const json = JSON.parse((await berthctl('list', '--json')).stdout)
  assert.deepEqual(json, {
    site: 'any',
    spaces: [{ entity: 'admin', images: 'verified', own: 'verified', site: 'any' }],
  })
  const reset = await berthctl('set', 'admin', 'default')
  assert.equal(reset.stdout, 'admin takes all images from the next push on.\n')
})

test('a space that is not there, and rules that are none', async () => {
  assertRefused(await berthctl('set', 'nobody', 'verified'), 1, /no entity "nobody"/)
  assertRefused(await berthctl('check', 'nobody'), 1, /no entity "nobody"/)
  assertRefused(await berthctl('set', 'admin', 'perhaps'), 2, /verified, any or default/)
  assertRefused(await berthctl('set'), 2, /Say "berthctl policy set SPACE RULE"/)
  assertRefused(await berthctl('switch'), 2, /Say what to do: list, set, check/)
})
