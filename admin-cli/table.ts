import { printable } from './printable.ts'

/**
 * Columns as Go's tab writer prints them, which people know from the clients: one blank between
 * columns, no blanks at the end of a line.
 */
export function table(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(printable))
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  )
  return cells
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('')
}
