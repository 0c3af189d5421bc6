import type { Bench, Case } from './case.ts'
import { measure } from './measure.ts'
import { loopRequests } from './request-loop.ts'

const connections = 16
const warmUpMs = 1000
const measuredMs = 5000

export function metadataCases(bench: Bench): Case[] {
  return [
    {
      name: 'metadata',
      title: `image record with a token beside a manifest without, ${connections} connections`,
      unit: 'requests/s',
      goals: [
        { kind: 'ratio', peer: 'registry', atLeast: 2 },
        { kind: 'p99', atMostMs: 10 },
      ],
      isFor: ({ metadataTarget }) => metadataTarget !== undefined,
      sample: async (contender) => {
        const target = await contender.metadataTarget?.(await bench.stored(contender))
        if (target === undefined) throw new Error(`${contender.name} has no metadata`)
        await loopRequests(target, connections, warmUpMs)
        return await measure(contender, async () => {
          return await loopRequests(target, connections, measuredMs)
        })
      },
    },
  ]
}
