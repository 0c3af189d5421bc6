/**
 * A program in the place of the runner: it speaks the runner's protocol and builds nothing. What it
 * does stands in the definition file, a step a line: `#do print TEXT`, `#do image SEED`,
 * `#do wait-for FILE`, `#do fail REASON`, `#do exit`, `#do exit-once FILE`, `#do ignore-term`,
 * `#do note-start FILE`, `#do keep-context FILE`, `#do walls-hold`, `#do unable REASON`. With
 * `--walls FILE` its walls do not hold while there is such a file, which says why.
 */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

import type { Reply } from './client.ts'
import { RunnerClient } from './runner-client.ts'
import { makeSif } from './sif.ts'

const walls = process.argv.includes('--walls')
  ? (process.argv[process.argv.indexOf('--walls') + 1] ?? '')
  : ''
const broken = existsSync(walls) ? readFileSync(walls, 'utf8').trim() : undefined
if (process.argv.includes('--self-test')) {
  if (broken !== undefined) process.stdout.write(`${JSON.stringify({ msg: broken })}\n`)
  process.exit(broken === undefined ? 0 : 3)
}
const file = process.argv[process.argv.indexOf('--job') + 1] ?? ''
const { url, token } = JSON.parse(readFileSync(file, 'utf8')) as { url: string; token: string }
rmSync(file)
const runner = new RunnerClient(url, token)
const stop = { term: false, asked: false, ignored: false }
process.on('SIGTERM', () => {
  stop.term = true
})

/** A server that is away for a while is asked again, as runners do. */
async function persist(work: () => Promise<Reply>): Promise<Reply> {
  const deadline = Date.now() + 60_000
  for (;;) {
    try {
      const reply = await work()
      if (reply.status < 500 || Date.now() > deadline) return reply
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
    await setTimeout(100)
  }
}

const reply = await persist(async () => await runner.job())
if (reply.status !== 200) process.exit(1)
const { definition, arch } = reply.json.data as { definition: string; arch: 'amd64' }
const steps = [...definition.matchAll(/^#do (\S+) ?(.*)$/gm)].map(([, verb = '', rest = '']) => ({
  verb,
  rest,
}))

const end = async (state: string, reason: string): Promise<never> => {
  const said = await persist(async () => await runner.end(state, reason))
  const status = state === 'unable' ? 3 : 0
  process.exit(said.status === 200 ? status : 1)
}
if (broken !== undefined) await end('unable', broken)
const beat = async (): Promise<void> => {
  const beaten = await persist(async () => await runner.print())
  if (beaten.status === 401) process.exit(1)
  stop.asked ||= beaten.json.data.cancel === true
  if ((stop.asked || stop.term) && !stop.ignored) await end('cancelled', 'asked to')
}

for (const { verb, rest } of steps) {
  if (verb === 'print') await persist(async () => await runner.print(`${rest}\n`))
  if (verb === 'ignore-term') stop.ignored = true
  if (verb === 'note-start') appendFileSync(rest, `${process.pid}\n`)
  if (verb === 'keep-context') {
    const context = await persist(async () => await runner.context())
    writeFileSync(rest, context.body)
  }
  if (verb === 'exit') process.exit(1)
  if (verb === 'exit-once' && !existsSync(rest)) {
    writeFileSync(rest, '')
    process.exit(1)
  }
  if (verb === 'walls-hold') await persist(async () => await runner.wallsHold())
  if (verb === 'unable') await end('unable', rest)
  if (verb === 'fail') await end('failed', rest)
  if (verb === 'wait-for') {
    while (!existsSync(rest)) {
      await beat()
      await setTimeout(50)
    }
  }
  if (verb === 'image') {
    const sif = makeSif({ seed: rest, arch })
    const stored = await persist(async () => await runner.image(sif))
    if (stored.status !== 200) await end('failed', stored.json.error.message)
  }
}
await end('succeeded', '')
