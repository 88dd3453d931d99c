<?php
// Writes the PHP payloads of this directory: `php make.php`, with PHP 8.2.

enum Colour: string { case Red = 'red'; }

class Person
{
    public $name = 'alice';
    protected $email = 'alice@example.org';
    private $id = 'u-1001';
    public $self;
    public $colour = Colour::Red;
}

class Token implements Serializable
{
    public function serialize() { return 'any;{bytes}'; }
    public function unserialize($data) {}
    public function __serialize(): array { return [null, 'main', [new Person(), true, null, [], ['ROLE_USER']]]; }
    public function __unserialize(array $data): void {}
}

class Old implements Serializable
{
    public function serialize() { return 'any;{bytes}'; }
    public function unserialize($data) {}
}

function encoded(string $handler, array $variables): string
{
    ini_set('session.serialize_handler', $handler);
    $_SESSION = $variables;
    return session_encode();
}

error_reporting(0);
session_cache_limiter('');
ini_set('session.use_cookies', '0');
ini_set('session.save_path', sys_get_temp_dir());
session_start();

$person = new Person();
$person->self = $person;
$variables = [
    'nothing' => null, 'yes' => true, 'no' => false, 'real' => 1.5, 'large' => 1e100, 'not' => NAN, 'endless' => -INF,
    'cart' => ['tea', 'café ☕', 7 => ['deep' => []]],
    'old' => new Old(),
    'person' => $person,
    'user_id' => 'u-1001',
    'created_at' => 1700000000,
    'ip' => '192.0.2.7',
];
$variables['same'] = &$variables['cart'];
file_put_contents('php-names.bin', encoded('php', $variables));
file_put_contents('php-binary.bin', encoded('php_binary', $variables));
file_put_contents('php-value.bin', encoded('php_serialize', $variables));
$symfony = [
    '_sf2_attributes' => ['_csrf/login' => 'abc', '_security.last_username' => 'mallory',
        '_security_main' => serialize(new Token())],
    '_symfony_flashes' => [],
    '_sf2_meta' => ['u' => 1700000009, 'c' => 1700000000, 'l' => 0],
];
file_put_contents('symfony-security.bin', encoded('php', $symfony));
$symfony['_sf2_attributes'] = ['user_id' => 'u-1001'];
file_put_contents('symfony-attributes.bin', encoded('php', $symfony));
$laravel = [
    '_token' => 'jKcs', '_previous' => ['url' => 'http://localhost'], '_flash' => ['old' => [], 'new' => []],
    'login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d' => 1001, 'password_hash_web' => '$2y$12$abc',
];
file_put_contents('laravel.bin', serialize(serialize($laravel)));
file_put_contents('laravel-json.bin', serialize(json_encode($laravel)));
file_put_contents('cakephp-cache.bin', serialize(encoded('php', ['Auth' => ['id' => 1001, 'name' => 'alice']])));
session_abort();
