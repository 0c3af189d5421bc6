package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

func (s *services) describe(noun string, refs []string) error {
	if len(refs) != 1 {
		return fmt.Errorf("describe needs one identifier")
	}
	ref := refs[0]
	switch nouns[noun] {
	case "entity":
		return describeFrom[entity](s.library, "Entity", "/v1/entities/{ref}", ref, ref)
	case "collection":
		return describeFrom[collection](s.library, "Collection", "/v1/collections/{ref}", ref, ref)
	case "container":
		return describeFrom[container](s.library, "Container", "/v1/containers/{ref}", ref, ref)
	case "image":
		return describeFrom[image](s.library, "Image", "/v1/images/{ref}", ref, ref)
	case "user":
		id, err := s.userID(ref)
		if err != nil {
			return err
		}
		return describeFrom[user](s.consent, "User", "/v1/admin/users/{ref}", ref, id)
	case "token":
		if err := s.checkTokenService(); err != nil {
			return err
		}
		one := token{}
		if err := s.tokens.call("GET", "/v1/token/{jti}", parameters{"jti": ref}, &one); err != nil {
			return err
		}
		fmt.Printf("Token: %s\n", ref)
		printFields(reflect.ValueOf(one), "  ")
		return nil
	}
	return fmt.Errorf("unknown type %q", noun)
}

func describeFrom[T any](from service, title, pattern, typed, ref string) error {
	reply := enveloped[T]{}
	if err := from.call("GET", pattern, parameters{"ref": ref}, &reply); err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", title, typed)
	printFields(reflect.ValueOf(*reply.Data), "  ")
	return nil
}

func printFields(object reflect.Value, indent string) {
	for i := range object.NumField() {
		name, value := object.Type().Field(i).Name, object.Field(i)
		if value.Kind() == reflect.Pointer {
			value = value.Elem()
		}
		printField(label(name), value, indent)
	}
}

func printField(label string, value reflect.Value, indent string) {
	switch value.Kind() {
	case reflect.Struct:
		fmt.Printf("%s%s:\n", indent, label)
		printFields(value, indent+"  ")
	case reflect.Map:
		fmt.Printf("%s%s:\n", indent, label)
		keys := value.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			printField(key.String(), value.MapIndex(key), indent+"  ")
		}
	default:
		fmt.Printf("%s%s:\t%v\n", indent, label, value)
	}
}

// label splits a member's name before capitals: EntityName is "Entity Name", ID is "Id".
func label(name string) string {
	name = strings.TrimSuffix(strings.ReplaceAll(name+"$", "ID$", "Id"), "$")
	text := strings.Builder{}
	for i, letter := range name {
		if i > 0 && unicode.IsUpper(letter) {
			text.WriteByte(' ')
		}
		text.WriteRune(letter)
	}
	return text.String()
}
