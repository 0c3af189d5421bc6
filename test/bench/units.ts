export const KIB = 2 ** 10
export const MIB = 2 ** 20
export const GIB = 2 ** 30

const factors: Readonly<Record<string, number>> = { KiB: KIB, MiB: MIB, GiB: GIB }

/** "256MiB" → bytes; undefined when it is not a size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,6}) ?(KiB|MiB|GiB)$/.exec(text)
  return match ? Number(match[1]) * (factors[match[2] ?? ''] ?? NaN) : undefined
}

export function formatSize(bytes: number): string {
  if (bytes >= GIB && bytes % (GIB / 4) === 0) return `${bytes / GIB} GiB`
  if (bytes >= MIB) return `${Math.round(bytes / MIB)} MiB`
  return `${Math.round(bytes / KIB)} KiB`
}
