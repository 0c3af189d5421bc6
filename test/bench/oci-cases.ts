/** The registry's own protocol, beside Docker's registry: what container tools do all day. */
import type { Bench, Case } from './case.ts'
import type { Contender, OciDoor } from './contender.ts'
import { curlGet } from './curl.ts'
import { measure } from './measure.ts'
import type { Payload } from './payload.ts'
import { loopRequests } from './request-loop.ts'
import { formatSize } from './units.ts'

/** Layers of one image. */
export const layerCount = 64
/** What skopeo and podman send and fetch at once. */
const atOnce = 6
const connections = 16
const warmUpMs = 1000
const measuredMs = 5000

export function ociCases(bench: Bench): Case[] {
  const size = formatSize(bench.sizeBytes)
  const layers = `${layerCount} × ${formatSize(bench.sizeBytes / layerCount)}, ${atOnce} at once`
  const stored = new Map<Contender, readonly Payload[]>()
  return [
    pushCase(bench, 'oci-push-1', `push a blob of ${size}`, 1),
    pushCase(bench, 'oci-push-layers', `push ${layers}`, layerCount),
    pullCase(bench, 'oci-pull-1', `pull a blob of ${size}`, async (contender) => [
      await bench.stored(contender),
    ]),
    pullCase(bench, 'oci-pull-layers', `pull ${layers}`, async (contender, door) => {
      const known = stored.get(contender) ?? (await freshLayers(bench, layerCount))
      if (!stored.has(contender)) await each(known, async (layer) => await door.client.push(layer))
      stored.set(contender, known)
      return known
    }),
    {
      name: 'oci-manifest',
      title: `manifest by tag, with a registry token beside without, ${connections} connections`,
      unit: 'requests/s',
      goals: [
        { kind: 'ratio', peer: 'registry', atLeast: 2 },
        { kind: 'p99', atMostMs: 10 },
      ],
      isFor: ({ oci }) => oci !== undefined,
      sample: async (contender) => {
        await contender.metadataTarget?.(await bench.stored(contender))
        const target = doorOf(contender).client.manifestTarget('latest')
        await loopRequests(target, connections, warmUpMs)
        return await measure(
          contender,
          async () => await loopRequests(target, connections, measuredMs),
        )
      },
    },
  ]
}

function pushCase(bench: Bench, name: string, title: string, count: number): Case {
  return {
    name,
    title,
    unit: 'MiB/s',
    goals: [{ kind: 'ratio', peer: 'registry', atLeast: 2.2 }],
    isFor: ({ oci }) => oci !== undefined,
    sample: async (contender) => {
      const door = doorOf(contender)
      const layers = await freshLayers(bench, count)
      await bench.settle()
      const sample = await measure(contender, async () => {
        await each(layers, async (layer) => await door.client.push(layer))
        return { bytes: bench.sizeBytes }
      })
      for (const layer of layers) await door.remove(layer)
      return sample
    },
  }
}

function pullCase(
  bench: Bench,
  name: string,
  title: string,
  layersOf: (contender: Contender, door: OciDoor) => Promise<readonly Payload[]>,
): Case {
  return {
    name,
    title,
    unit: 'MiB/s',
    goals: [{ kind: 'ratio', peer: 'registry', atLeast: 1.3 }],
    isFor: ({ oci }) => oci !== undefined,
    sample: async (contender) => {
      const door = doorOf(contender)
      const layers = await layersOf(contender, door)
      return await measure(contender, async () => {
        await each(layers, async (layer) => {
          await curlGet(door.client.blobTarget(layer), layer.sizeBytes)
        })
        return { bytes: bench.sizeBytes }
      })
    },
  }
}

async function freshLayers(bench: Bench, count: number): Promise<Payload[]> {
  const layers: Payload[] = []
  for (let number = 0; number < count; number += 1) {
    layers.push(await bench.payloads.fresh(bench.sizeBytes / count, number))
  }
  return layers
}

async function each(
  layers: readonly Payload[],
  work: (layer: Payload) => Promise<void>,
): Promise<void> {
  const left = layers.values()
  const workers = Array.from({ length: atOnce }, async () => {
    for (const layer of left) await work(layer)
  })
  await Promise.all(workers)
}

function doorOf({ name, oci }: Contender): OciDoor {
  if (oci === undefined) throw new Error(`${name} is no registry`)
  return oci
}
