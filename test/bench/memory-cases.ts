import type { Bench, Case } from './case.ts'
import type { Contender, Upload } from './contender.ts'
import { curlGet } from './curl.ts'
import { measure } from './measure.ts'
import type { Sample } from './measure.ts'
import { formatSize } from './units.ts'

/** Memory must not grow with the size of images; how fast these go is not the point. */
export function memoryCases(bench: Bench): Case[] {
  const loads = [
    { uploads: 16, downloads: 16, sizeBytes: bench.sizeBytes, goals: [250, 400] },
    { uploads: 64, downloads: 0, sizeBytes: bench.sizeBytes / 4, goals: [400] },
  ]
  return loads.map(({ uploads, downloads, sizeBytes, goals }) => ({
    name: `memory-${uploads}`,
    title: `${uploads} uploads and ${downloads} downloads of ${formatSize(sizeBytes)} at once`,
    unit: 'MiB/s',
    maxRounds: 1,
    goals: goals.map((belowMegabytes) => ({ kind: 'memory', belowMegabytes })),
    isFor: ({ name }) => name === 'berth',
    sample: async (contender) => {
      return await sampleMemory(bench, contender, { uploads, downloads, sizeBytes })
    },
  }))
}

/** What the servers store at most while these cases run. */
export function memoryCaseBytes(sizeBytes: number): number {
  return 16 * sizeBytes
}

interface Load {
  readonly uploads: number
  readonly downloads: number
  readonly sizeBytes: number
}

async function sampleMemory(bench: Bench, contender: Contender, load: Load): Promise<Sample> {
  const stored = await bench.stored(contender)
  const uploads: Upload[] = []
  for (let number = 0; number < load.uploads; number += 1) {
    const payload = bench.payloads.unwritten(load.sizeBytes)
    uploads.push(await contender.prepareUpload(payload, 'whole'))
  }
  const target = await contender.downloadTarget(stored)
  await bench.settle()
  const sample = await measure(contender, async () => {
    const downloads = Array.from({ length: load.downloads }, async () => {
      await curlGet(target, stored.sizeBytes)
    })
    await Promise.all([...downloads, ...uploads.map(async (upload) => await upload.send())])
    return { bytes: load.uploads * load.sizeBytes + load.downloads * stored.sizeBytes }
  })
  for (const upload of uploads) await upload.remove()
  return sample
}
