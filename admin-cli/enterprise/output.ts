/** The forms of a listing: short and long tables, csv, json and yaml (enterprise.md 5). */
import { stringify } from 'yaml'

import { printable } from '../printable.ts'
import type { Column } from './columns.ts'

export type Form = 'short' | 'long' | 'csv' | 'json' | 'yaml'

/** Unknown words mean the short table, as in the plugin. */
export function parseForm(word: string | undefined): Form {
  const forms: readonly Form[] = ['short', 'long', 'csv', 'json', 'yaml']
  return forms.find((form) => form === word) ?? 'short'
}

export function render<Row extends object>(
  form: Form,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
): string {
  if (form === 'json') return jsonText(rows)
  if (form === 'yaml') return stringify(rows.map(lowerCased), { lineWidth: 0 })
  const shown = columns.filter(
    (column) => (column.in ?? form) === (form === 'csv' ? 'long' : form) || column.in === undefined,
  )
  const table = [
    shown.map(({ title }) => title),
    ...rows.map((row) => shown.map(({ cell }) => printable(cell(row)))),
  ]
  return form === 'csv' ? csvText(table) : tableText(table)
}

/**
 * Go's tab writer: one blank between columns; the last header neither widens its column nor is
 * followed by anything, while every row ends in the padding of its last cell.
 */
export function tableText(table: readonly (readonly string[])[]): string {
  const [header = [], ...rows] = table
  const last = header.length - 1
  const widths = header.map((title, column) => {
    const widest = rows.reduce(
      (width, row) => Math.max(width, widthOf(row[column] ?? '')),
      column === last ? 0 : widthOf(title),
    )
    return widest + 1
  })
  const pad = (cell: string, column: number): string =>
    cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - widthOf(cell)))
  const first = header.map((title, column) => (column === last ? title : pad(title, column)))
  return [first, ...rows.map((row) => row.map(pad))].map((line) => `${line.join('')}\n`).join('')
}

/** In characters, not bytes. */
function widthOf(text: string): number {
  return Array.from(text).length
}

/** RFC 4180, as Go's encoding/csv quotes. */
function csvText(table: readonly (readonly string[])[]): string {
  const quoted = (cell: string): string =>
    /[",\r\n]|^[ \t]/.test(cell) || cell === String.raw`\.`
      ? `"${cell.replaceAll('"', '""')}"`
      : cell
  return table.map((row) => `${row.map(quoted).join(',')}\n`).join('')
}

/** Members in the order of the alphabet, without those that are empty, and no newline at the end. */
function jsonText(rows: readonly object[]): string {
  return JSON.stringify(rows.map(sortedMembers), null, 2)
}

function sortedMembers(row: object): object {
  const members = Object.entries(row).filter(([, value]) => !isZero(value))
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)))
}

function isZero(value: unknown): boolean {
  if (value === '' || value === false || value === 0) return true
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isMap && Object.keys(value).length === 0
}

/** yaml writes the names of Go's members in small letters. */
function lowerCased(row: object): object {
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key.toLowerCase(), value]))
}
