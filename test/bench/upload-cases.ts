import type { Bench, Case, Goal } from './case.ts'
import type { Contender, Upload, UploadForm } from './contender.ts'
import { measure } from './measure.ts'
import type { Sample } from './measure.ts'
import { formatSize } from './units.ts'

const cpuGoal: Goal = { kind: 'cpu', atMostSeconds: 1.9 }
const peerGoal: Goal = { kind: 'ratio', peer: 'registry', atLeast: 2.2 }

/** How many uploads share the size, case by case. */
export const uploadCounts = [1, 4, 16] as const

export function uploadCases(bench: Bench): Case[] {
  const size = formatSize(bench.sizeBytes)
  return [
    uploadCase(bench, {
      name: 'upload-single',
      title: `upload ${size}, one PUT`,
      form: 'whole',
      count: 1,
      goals: [peerGoal, cpuGoal],
    }),
    uploadCase(bench, {
      name: 'upload-pieces',
      title: `upload ${size}: library parts beside 5 MiB PATCH`,
      form: 'pieces',
      count: 1,
      goals: [peerGoal, cpuGoal],
    }),
    ...uploadCounts.slice(1).map((count) =>
      uploadCase(bench, {
        name: `upload-${count}`,
        title: `upload ${count} × ${formatSize(bench.sizeBytes / count)} at once`,
        form: 'whole',
        count,
        goals: [cpuGoal],
      }),
    ),
  ]
}

interface UploadCase {
  readonly name: string
  readonly title: string
  readonly form: UploadForm
  readonly count: number
  readonly goals: readonly Goal[]
}

function uploadCase(bench: Bench, { form, count, ...rest }: UploadCase): Case {
  return {
    ...rest,
    unit: 'MiB/s',
    isFor: ({ uploadForms }) => uploadForms.includes(form),
    sample: async (contender) => await sampleUploads(bench, contender, form, count),
  }
}

async function sampleUploads(
  bench: Bench,
  contender: Contender,
  form: UploadForm,
  count: number,
): Promise<Sample> {
  const uploads: Upload[] = []
  for (let number = 0; number < count; number += 1) {
    const payload = await bench.payloads.fresh(bench.sizeBytes / count, number)
    uploads.push(await contender.prepareUpload(payload, form))
  }
  await bench.settle()
  const sample = await measure(contender, async () => {
    await Promise.all(uploads.map(async (upload) => await upload.send()))
    return { bytes: bench.sizeBytes }
  })
  for (const upload of uploads) await upload.remove()
  return sample
}
