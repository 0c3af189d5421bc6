/** Sizes as the configuration has them. */
import { z } from 'zod'

export const units = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const

/** Bytes, as a whole number or as a text such as "100 GiB". */
export const bytes = z
  .union([z.number().int().nonnegative(), z.string()])
  .transform((value, context) => {
    if (typeof value === 'number') return value
    const match = /^(\d{1,15}(?:\.\d{1,6})?) ?(B|KiB|MiB|GiB|TiB)$/.exec(value)
    const size = match ? Math.floor(Number(match[1]) * units[match[2] as keyof typeof units]) : NaN
    if (Number.isSafeInteger(size)) return size
    context.addIssue({ code: 'custom', message: 'expected a size such as "100 GiB"' })
    return z.NEVER
  })
