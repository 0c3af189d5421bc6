import { invalid } from '../failure.ts'

/** Accounts and tokens have 24 hex digits; what has another form is answered 400. */
export function parseIdentifier(text: string, noun: 'user' | 'token'): string {
  if (/^[0-9a-f]{24}$/.test(text)) return text
  throw invalid('request', `This is not the ID of a ${noun}: expected 24 hexadecimal digits.`)
}
