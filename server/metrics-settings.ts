/** `[metrics]` of the configuration: where the figures for Prometheus are, if anywhere. */
import { z } from 'zod'

export type MetricsPlace =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }

const socketPathLimit = 107 // sizeof sun_path - 1

const place = z.string().transform((value, context): MetricsPlace => {
  if (value.startsWith('unix:')) {
    const path = value.slice('unix:'.length)
    if (path.startsWith('/') && Buffer.byteLength(path) <= socketPathLimit) return { path }
  } else {
    const match = /^(?:(\[[0-9a-fA-F:]+\]|[^:[\]]+):)?(\d{1,5})$/.exec(value)
    const port = Number(match?.[2])
    if (match && port <= 65535) {
      return { host: (match[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port }
    }
  }
  const message = 'expected host:port, for example 127.0.0.1:9180, or unix:/run/berth/metrics.sock'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const metricsTable = z
  .strictObject({
    /** A listener of its own for /metrics; none by default. It asks nobody who he is. */
    listen: place.optional(),
  })
  .prefault({})
