/** 1536 → "1.50 KiB", for people; whole bytes below a KiB. */
export function sizeInWords(size: number): string {
  if (size < 1024) return `${size} B`
  const exponent = Math.min(Math.floor(Math.log2(size) / 10), 5)
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][exponent] ?? 'B'
  return `${(size / 2 ** (10 * exponent)).toFixed(2)} ${unit}`
}
