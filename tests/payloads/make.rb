# Writes the Ruby payloads of this directory: `ruby make.rb`, with Ruby 3.1.

# As Rails has it, in what Marshal sees of it.
module ActiveSupport
  class HashWithIndifferentAccess < Hash
  end
end

class Person
  def initialize
    @id = "u-1001"
    @tags = [:a, :b]
  end
end

Point = Struct.new(:x, :y)

class Dumped
  def _dump(_level)
    "bytes"
  end
end

class Made
  def marshal_dump
    { "id" => "u-1001" }
  end
end

def write(name, value)
  File.binwrite("#{name}.bin", Marshal.dump(value))
end

shared = "u-1001"
extended = "text".dup.extend(Comparable)
with_default = Hash.new("u-9")
with_default["a"] = 1
with_variables = [1, 2].tap { |list| list.instance_variable_set(:@note, ["x"]) }
session = {
  "nil" => nil, "yes" => true, "no" => false, "small" => -129, "large" => 2**40, "larger" => -(2**90), "real" => 1.5,
  "binary" => "\xff".b, "latin" => "café".encode("ISO-8859-1"), "ascii" => "a".encode("US-ASCII"),
  "pattern" => /a+/i, "class" => String, "module" => Comparable, :"grüße" => :symbol, "range" => (1..3),
  "time" => Time.at(1_700_000_000), "dumped" => Dumped.new, "point" => Point.new(1, [2]), "extended" => extended,
  "default" => with_default, "variables" => with_variables, "flash" => { "discard" => [], "flashes" => {} },
  "made" => Made.new, "person" => Person.new, "first" => shared, "user_id" => shared,
  "created_at" => 1_700_000_000, "ip" => "192.0.2.7", "late" => "only at the end"
}
write("ruby-everything", session)
write("ruby-devise", { "_csrf_token" => "abc", "warden.user.user.key" => [[1001], "$2a$12$abcdefghijklmnopqrstuv"] })
write("ruby-warden", { "session_id" => "abc", "warden.user.default.key" => "u-1001" })
indifferent = ActiveSupport::HashWithIndifferentAccess.new
indifferent["user_id"] = 1001
write("ruby-indifferent", indifferent)
write("ruby-symbols", { user_id: "u-1001", user: { id: 2 } })
