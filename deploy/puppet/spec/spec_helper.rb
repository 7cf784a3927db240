# frozen_string_literal: true

require 'rspec-puppet'

module_path = File.expand_path('..', __dir__)
fixtures = ENV.fetch('LOGIN_DUO_MODULES') { File.join(module_path, 'spec', 'fixtures', 'modules') }

RSpec.configure do |config|
  config.module_path = fixtures
  config.manifest_dir = File.join(module_path, 'spec', 'fixtures', 'manifests')
  config.mock_with :rspec
end
