export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return (percentile(sorted, 0.5) + percentile(sorted.toReversed(), 0.5)) / 2
}

/** Of values in rising order: the smallest one that the given share of them does not exceed. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN
}
