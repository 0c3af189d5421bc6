/** The job file that an executor hands over, and the job as the server tells it. */
import { readFileSync, unlinkSync } from 'node:fs'

import { z } from 'zod'

const jobFile = z.object({
  url: z.url({ protocol: /^https?$/ }),
  token: z.string().min(16),
  /** A certificate authority of the site's own, as PEM. */
  ca: z.string().optional(),
})

export type JobFile = z.infer<typeof jobFile>

/** Reads the file and removes it: the token is in no file while the build runs. */
export function takeJobFile(file: string): JobFile {
  const read = readFileSync(file, 'utf8')
  unlinkSync(file)
  return jobFile.parse(JSON.parse(read))
}

const count = z.number().int().positive()

const job = z.object({
  id: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  arch: z.string(),
  /** With the values of its build arguments in their places. */
  definition: z.string(),
  workingDir: z.string().nullish(),
  contextUrl: z.string().nullish(),
  libraryUrl: z.url({ protocol: /^https?$/ }),
  registryUrl: z.url({ protocol: /^https?$/ }),
  /** Where they are below the address of the job file, when the server itself has them. */
  libraryVia: z.string().nullish(),
  registryVia: z.string().nullish(),
  limits: z.object({
    seconds: count,
    cpus: count,
    memoryBytes: count,
    processes: count,
    scratchBytes: count,
    outputBytes: count,
    imageBytes: count,
  }),
  allowedHosts: z.array(z.string()),
  pullToken: z.string().nullish(),
})

export type Job = z.infer<typeof job>

export const jobReply = z.object({ data: job })
export const outputReply = z.object({ data: z.object({ size: z.number(), cancel: z.boolean() }) })
