/** The questions on a terminal. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { publishKey } from '../support/published-key.ts'
import { startServer } from '../support/server.ts'
import { makeKey } from '../support/signed-sif.ts'
import { openTerminal, withoutTerminal } from '../support/terminal.ts'
import { pathOf } from './command.ts'

const skip = withoutTerminal

const server = await startServer({ after })
await server.account('alice')
const directory = mkdtempSync(join(tmpdir(), 'berth-terminal-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const getToken = `${pathOf('get_singularity_token')} --user alice > ${directory}/token`
const backspace = '\u007f'
const interrupt = '\u0003'

test(
  'the password is typed without an echo, and the token is not on the terminal',
  { skip },
  async () => {
    const screen = await onTerminal(getToken, [['portal password :', 'alice-password\r']])
    assert.equal(screen.text, 'Berth portal password :\r\njust a moment, please...\r\n')
    assert.equal(screen.code, 0)
    assert.match(readFileSync(join(directory, 'token'), 'utf8'), /^\S{200,}\n$/)
  },
)

test('a slip of the hand is taken back', { skip }, async () => {
  const typed = `ä${backspace}alice-passwort${backspace}d\r`
  const screen = await onTerminal(getToken, [['portal password :', typed]])
  assert.equal(screen.code, 0, screen.text)
})

test('Ctrl-C ends the question', { skip }, async () => {
  const screen = await onTerminal(getToken, [['portal password :', `half${interrupt}`]])
  assert.equal(screen.text, 'Berth portal password :\r\nget_singularity_token: Interrupted.\r\n')
  assert.equal(screen.code, 1)
})

test('the terminal echoes again afterwards', { skip }, async () => {
  const screen = await onTerminal(`${getToken}; stty -a`, [['portal password :', 'x\r']])
  assert.match(screen.text, /[^-]icanon/)
  assert.match(screen.text, /[^-]echo\b/)
})

test('a new password is asked for twice, and both must agree', { skip }, async () => {
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  const add = (name: string): string =>
    `BERTH_CONFIG=${file} ${pathOf('berthctl')} account add ${name}`

  const slip = await onTerminal(add('bob'), [
    ['New password of bob: ', 'bob-password\r'],
    ['The same again: ', 'bob-passwort\r'],
  ])
  assert.equal(slip.code, 1)
  assert.match(slip.text, /The two passwords differ, and nothing was changed: try again\./)

  const right = await onTerminal(add('bob'), [
    ['New password of bob: ', 'bob-password\r'],
    ['The same again: ', 'bob-password\r'],
  ])
  assert.equal(right.code, 0, right.text)
  assert.doesNotMatch(right.text, /bob-pass/)

  const pasted = await onTerminal(add('carol'), [
    ['New password of carol: ', 'carol-password\rcarol-password\r'],
  ])
  assert.equal(pasted.code, 0, pasted.text)
})

test('a key is taken out after the question was answered with yes', { skip }, async () => {
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  const key = await makeKey('dave')
  await publishKey(await server.user('dave'), key.publicKey)
  const words = `key tombstone ${key.fingerprint} --reason test`
  const command = `BERTH_CONFIG=${file} ${pathOf('berthctl')} ${words}`

  for (const answer of ['', 'n', 'nay']) {
    const kept = await onTerminal(command, [['Take it out? [y/N] ', `${answer}\r`]])
    assert.equal(kept.code, 1)
    assert.match(kept.text, /no image signed with it will show an unknown key\.\r\nTake it out\?/)
    assert.match(kept.text, /berthctl: Nothing was changed\.\r\n$/)
  }
  const left = await onTerminal(command, [['Take it out? [y/N] ', interrupt]])
  assert.equal(left.code, 1)
  assert.match(left.text, /Nothing was changed/)
  const taken = await onTerminal(command, [['Take it out? [y/N] ', 'y\r']])
  assert.equal(taken.code, 0)
  assert.match(taken.text, /of dave was taken out/)
})

/** Types each answer when its question stands on the screen. Returns all that was shown. */
async function onTerminal(
  command: string,
  answers: readonly (readonly [question: string, answer: string])[],
): Promise<{ text: string; code: number | null }> {
  const terminal = openTerminal({ after }, command, { BERTH_URL: server.url })
  for (const [question, answer] of answers) {
    await terminal.see(question)
    terminal.type(answer)
  }
  const code = await terminal.closed
  return { text: terminal.text(), code }
}
