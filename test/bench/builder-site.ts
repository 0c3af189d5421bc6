/** A site that builds, started as its users start it, and Apptainer called directly beside it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { WebSocket } from 'ws'

import { findApptainerRoot, openApptainer } from '../clients/apptainer-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { startOwnServer } from './berth.ts'
import { call, dataOf } from './call.ts'
import { MissingContender } from './contender.ts'

export interface BuilderSite {
  /** Builds to the end, through Berth. Throws when the build fails. */
  build(definition: string): Promise<BuildTimes>
  /** The same by `apptainer build` of an ordinary user in the same root; milliseconds. */
  buildDirectly(definition: string): Promise<number>
  stop(): Promise<void>
}

/** Milliseconds from the submission on. */
interface BuildTimes {
  /** The first byte of output has arrived: the walls hold, and what they are made of. */
  readonly firstOutput: number
  /** The first line of Apptainer has arrived. */
  readonly firstOfApptainer: number
  /** The image is in the library, and the client has been told. */
  readonly end: number
}

/** Below this directory everything is; it has to be reachable by other accounts. */
export async function startBuilderSite(directory: string): Promise<BuilderSite> {
  const missing = withoutBubblewrap()
  const root = findApptainerRoot()
  if (missing !== false) throw new MissingContender(missing)
  if (root === undefined) throw new MissingContender('there is no Apptainer root')
  const scratch = join(directory, 'scratch')
  await mkdir(scratch)
  const runnerConfig = join(directory, 'builder.toml')
  const settings = { root, scratch_dir: scratch, limiter: 'prlimit' }
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
  await writeFile(runnerConfig, lines.join('\n'))
  const builder = `
[builder]
enabled = true
memory = "2 GiB"
scratch = "2 GiB"
[[builder.builders]]
name = "here"
runner_config = ${JSON.stringify(runnerConfig)}
`
  const { origin, token, server } = await startOwnServer(directory, builder)
  const headers = { Authorization: `Bearer ${token}` }
  const endings: (() => void)[] = []
  const apptainer = openApptainer(
    { after: (work) => void endings.push(work) },
    { root, timeoutSeconds: 600 },
  )
  let number = 0

  return {
    build: async (definition) => {
      const definitionRaw = Buffer.from(definition).toString('base64')
      const startedAt = performance.now()
      const options = { headers, json: { definitionRaw, libraryRef: '' }, accept: [201] }
      const { id } = dataOf(await call('POST', `${origin}/v1/build`, options)) as { id: string }
      const times = await follow(origin, token, id, startedAt)
      const answer = await call('GET', `${origin}/v1/build/${id}`, { headers })
      const { state, reason } = dataOf(answer) as { state: string; reason: string }
      if (state !== 'succeeded') throw new Error(`the build ${state}: ${reason}\n${times.text}`)
      return times
    },

    buildDirectly: async (definition) => {
      const name = `direct-${(number += 1)}`
      await writeFile(join(apptainer.work, `${name}.def`), definition)
      const startedAt = performance.now()
      const outcome = await apptainer.run('build', `${name}.sif`, `${name}.def`)
      const took = performance.now() - startedAt
      if (outcome.status !== 0) throw new Error(`apptainer build: ${outcome.stderr}`)
      return took
    },

    stop: async () => {
      for (const ending of endings) ending()
      await server.stop()
    },
  }
}

/** As clients follow a build: from the first byte to the normal close. */
async function follow(
  origin: string,
  token: string,
  id: string,
  startedAt: number,
): Promise<BuildTimes & { readonly text: string }> {
  const url = `${origin.replace(/^http/, 'ws')}/v1/build-ws/${id}?offset=0`
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
  let [firstOutput, firstOfApptainer, text] = [NaN, NaN, '']
  const since = (): number => performance.now() - startedAt
  socket.on('message', (data: Buffer) => {
    text += data.toString()
    if (Number.isNaN(firstOutput)) firstOutput = since()
    if (Number.isNaN(firstOfApptainer) && text.includes('INFO:')) firstOfApptainer = since()
  })
  const code = await new Promise<number>((resolve, reject) => {
    socket.once('close', resolve)
    socket.once('error', reject)
  })
  if (code !== 1000) throw new Error(`the output ended with ${code}\n${text}`)
  return { firstOutput, firstOfApptainer, end: since(), text }
}
