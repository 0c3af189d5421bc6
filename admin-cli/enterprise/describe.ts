/** One object in full: a line for each member, in the order of the alphabet (enterprise.md 5). */
import { printable } from '../printable.ts'
import { listCell } from './cells.ts'

/** `Container: alice/tools/bwa` and its members. */
export function describeText(title: string, ref: string, object: object): string {
  return [`${title}: ${printable(ref)}`, ...fields(object, '  ', true), ''].join('\n')
}

function fields(object: object, indent: string, areMembers: boolean): string[] {
  const names = Object.entries(object).map(([key, value]) => ({
    // Go's own names decide the order: ID, not id.
    order: areMembers ? goName(key) : key,
    label: areMembers ? labelOf(goName(key)) : printable(key),
    value: value as unknown,
  }))
  names.sort((a, b) => (a.order < b.order ? -1 : 1))
  return names.flatMap(({ order, label, value }) => {
    if (Array.isArray(value)) return [`${indent}${label}:\t${printable(listCell(value))}`]
    if (typeof value === 'object' && value !== null) {
      return [`${indent}${label}:`, ...fields(value, `${indent}  `, order === 'Quotas')]
    }
    return [`${indent}${label}:\t${printable(numberOr(value))}`]
  })
}

function goName(key: string): string {
  const name = `${key.slice(0, 1).toUpperCase()}${key.slice(1)}`
  return name === 'Id' ? 'ID' : name
}

/** `EntityName` → `Entity Name`, `ProviderID` → `Provider Id`, `OrganizationIDs` → `Organization I Ds`. */
function labelOf(name: string): string {
  return name.replace(/ID$/, 'Id').replace(/(?!^)[A-Z]/g, ' $&')
}

/** Go prints large floating numbers with an exponent; sizes are whole numbers there. */
function numberOr(value: unknown): string {
  return String(value)
}
