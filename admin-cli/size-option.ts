import { bytes } from '../server/size-field.ts'
import { UsageError } from './exit.ts'

/** 200GiB, 1.5TiB, "200 GiB" or a number of bytes, as bytes. */
export function sizeOf(text: string): number {
  const parsed = bytes.safeParse(/^\d{1,16}$/.test(text) ? Number(text) : text)
  if (parsed.success) return parsed.data
  throw new UsageError(`"${text}" is not a size: try 200GiB, or 1.5TiB.`)
}
